/* Bytes of elements brought together (join) and taken apart (split), sixteen elements of 2, 4 or 8 bytes at a time.
 *
 * Interleaving the first half of the vectors with the second turns the number of a byte, read in binary, round by
 * one place, so log2(size) rounds swap "which plane" with "which element"; taking evens and odds apart undoes a round.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t bytes __attribute__((vector_size(16)));
#define INTERLEAVED(a, b, at)                                                                      \
    __builtin_shufflevector(a, b, at, at + 16, at + 1, at + 17, at + 2, at + 18, at + 3, at + 19,  \
                            at + 4, at + 20, at + 5, at + 21, at + 6, at + 22, at + 7, at + 23)
#define EVERY_SECOND(a, b, at)                                                                     \
    __builtin_shufflevector(a, b, at, at + 2, at + 4, at + 6, at + 8, at + 10, at + 12, at + 14,   \
                            at + 16, at + 18, at + 20, at + 22, at + 24, at + 26, at + 28, at + 30)

/* Whole blocks of sixteen of n elements, from `at` up to `end`; returns where it stopped. */
#define EACH(i, count) _Pragma("clang loop unroll(full)") for (size_t i = 0; i < count; i++)
#define BLOCKS(side, is_join, size, rounds)                                                        \
    static __attribute__((noinline)) size_t side##_##size(const uint8_t *in, uint8_t *out, size_t n, \
                                                          size_t at, size_t end)                   \
    {                                                                                              \
        const size_t first = at;                                                                   \
        for (bytes v[8], w[8]; at + 16 <= end; at += 16) {                                         \
            EACH(i, size) memcpy(&v[i], is_join ? in + i * n + at : in + at * size + i * 16, 16);  \
            EACH(round, rounds)                                                                    \
            {                                                                                      \
                EACH(i, size / 2)                                                                  \
                {                                                                                  \
                    bytes a = v[is_join ? i : 2 * i], b = v[is_join ? i + size / 2 : 2 * i + 1];   \
                    w[is_join ? 2 * i : i] = is_join ? INTERLEAVED(a, b, 0) : EVERY_SECOND(a, b, 0); \
                    w[is_join ? 2 * i + 1 : i + size / 2] =                                        \
                        is_join ? INTERLEAVED(a, b, 8) : EVERY_SECOND(a, b, 1);                    \
                }                                                                                  \
                memcpy(v, w, sizeof v);                                                            \
            }                                                                                      \
            EACH(i, size)                                                                          \
            memcpy(is_join ? out + (at - first) * size + i * 16 : out + i * n + at, &v[i], 16);    \
        }                                                                                          \
        return at;                                                                                 \
    }
BLOCKS(join, 1, 2, 1)
BLOCKS(join, 1, 4, 2)
BLOCKS(join, 1, 8, 3)
BLOCKS(split, 0, 2, 1)
BLOCKS(split, 0, 4, 2)
BLOCKS(split, 0, 8, 3)
