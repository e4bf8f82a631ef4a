// A Google Cloud Storage for the tests: fake-gcs-server, in memory, on a loopback port of its own.
//
// Prints its port and ends when its standard input does. fake-gcs-server lets everybody in, takes a put of
// the XML API only if the URL is signed, and answers it without an ETag; Google wants a token, takes a put
// with one, and sends an ETag. What is here makes up for that.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

func main() {
	token := os.Getenv("TOKEN")
	if token == "" {
		log.Fatal("the environment variable TOKEN says which token is let in")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	address := listener.Addr().String()
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		NoListener: true,
		PublicHost: address,
		Writer:     io.Discard,
	})
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.Serve(listener, likeGoogle(server.HTTPHandler(), token))) }()
	fmt.Printf("listening at http://%s\n", address)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func likeGoogle(inner http.Handler, token string) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if request.Header.Get("Authorization") != "Bearer "+token {
			http.Error(answer, "<Error><Code>AuthenticationRequired</Code></Error>", http.StatusUnauthorized)
			return
		}
		if request.Method == http.MethodPut && !strings.HasPrefix(request.URL.Path, "/storage/") {
			request.URL.RawQuery = "X-Goog-Algorithm=GOOG4-RSA-SHA256"
			answer.Header().Set("ETag", `"of a put"`)
		}
		inner.ServeHTTP(answer, request)
	})
}
