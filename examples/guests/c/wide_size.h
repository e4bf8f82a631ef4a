/* Makes `size_t` 64 bits wide in what is compiled after this.
 *
 * Wasm's pointers have 32 bits, its arithmetic 64: libraries that choose the width of their bit buffers by
 * that of `size_t` are slower than they need to be. The C library's own declarations have been read by
 * then and stay as they are.
 */
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define size_t uint64_t
