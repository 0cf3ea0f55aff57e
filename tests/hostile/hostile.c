/* What Python cannot do by itself: the mistakes of kernels in C. */

#include <fenv.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

int null_dereference(void) { volatile int *nowhere = 0; return *nowhere; }

int wild_jump(void) { int (*volatile nowhere)(void) = (int (*)(void))(uintptr_t)16; return nowhere(); }

void call_abort(void) { abort(); }

int divide(int by) { volatile int one = 1, zero = by, result = one / zero; return result; }

int overflow_stack(int depth) {
    volatile char frame[4096];
    frame[0] = (char)depth;
    return overflow_stack(depth + 1) + frame[0];
}

void loop(void) { for (volatile int k = 0;; k++) { } }

void double_free(void) { void *volatile p = malloc(64); free(p); free(p); }

void lock_twice(void) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    pthread_mutex_lock(&lock);
}

/* Allocates without looking whether it succeeded, as kernels do. */
void allocate(size_t bytes) { memset(malloc(bytes), 1, bytes); }

void write_at(char *start, long place) { start[place] ^= 1; }

float read_at(volatile float *start, long place) { return start[place]; }

void round_up(void) { fesetround(FE_UPWARD); }

void flush_to_zero(void) {
#if defined(__SSE__)
    _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
}

struct later { float *place; };

static void *change_later(void *given) {
    struct later *what = given;
    usleep(50000);
    what->place[0] += 1;
    free(what);
    return 0;
}

void write_later(float *place) {
    pthread_t thread;
    struct later *what = malloc(sizeof *what);
    what->place = place;
    pthread_create(&thread, 0, change_later, what);
    pthread_detach(thread);
}

void *leak(size_t bytes) { return memset(malloc(bytes), 1, bytes); }

/* A buffer of which only the first half is written. */
void copy_half(float *to, const float *from, long count) { memcpy(to, from, (size_t)(count / 2) * sizeof *to); }
