/*
 * A very small runtime for enclaves of the Fortanix SGX ABI (target
 * x86_64-fortanix-unknown-sgx): entry and exit, usercalls, host memory,
 * printing, threads, and the two SGX leaves for reports and keys.
 *
 * An enclave defines enclave_main and, if it launches threads,
 * enclave_thread. A library defines enclave_library instead and is converted
 * with --library.
 */
#ifndef EOS_EDP_H
#define EOS_EDP_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

/* Results that are pairs travel in RSI and RDX outside, RAX and RDX inside. */
struct pair {
	u64 first, second;
};

/* What an enclave defines. The return value of enclave_main is the exit
   status: anything but 0 becomes the panic "Exited with status code N". */
int enclave_main(int argc, char **argv);
struct pair enclave_thread(void);
struct pair enclave_library(u64 p1, u64 p2, u64 p3, u64 p4, u64 p5);

/* 1 in a library, which then defines enclave_library. */
extern const volatile int enclave_is_library;

/* Set by enclave_main to return from the entry point, which the ABI forbids. */
extern int eos_return_from_entry;

/* ---- usercalls --------------------------------------------------------- */

enum {
	UC_READ = 1,
	UC_READ_ALLOC,
	UC_WRITE,
	UC_FLUSH,
	UC_CLOSE,
	UC_BIND_STREAM,
	UC_ACCEPT_STREAM,
	UC_CONNECT_STREAM,
	UC_LAUNCH_THREAD,
	UC_EXIT,
	UC_WAIT,
	UC_SEND,
	UC_INSECURE_TIME,
	UC_ALLOC,
	UC_FREE,
	UC_ASYNC_QUEUES,
};
#define USERCALL_USER_DEFINED 0x80000000u

enum {
	E_SUCCESS = 0,
	E_PERMISSION_DENIED = 0x01,
	E_NOT_FOUND = 0x02,
	E_INTERRUPTED = 0x04,
	E_WOULD_BLOCK = 0x0b,
	E_ALREADY_EXISTS = 0x11,
	E_INVALID_INPUT = 0x16,
	E_BROKEN_PIPE = 0x20,
	E_ADDR_IN_USE = 0x62,
	E_ADDR_NOT_AVAILABLE = 0x63,
	E_CONNECTION_ABORTED = 0x67,
	E_CONNECTION_RESET = 0x68,
	E_NOT_CONNECTED = 0x6b,
	E_TIMED_OUT = 0x6e,
	E_CONNECTION_REFUSED = 0x6f,
	E_INVALID_DATA = 0x20000000,
	E_WRITE_ZERO = 0x20000001,
	E_UNEXPECTED_EOF = 0x20000002,
	E_OTHER = 0x3fffffff,
};

#define EV_USERCALLQ_NOT_FULL  1u
#define EV_RETURNQ_NOT_EMPTY   2u
#define EV_UNPARK              4u
#define EV_CANCELQ_NOT_FULL    8u

#define WAIT_NO         0ull
#define WAIT_INDEFINITE (~0ull)

struct byte_buffer {
	u8 *data;
	u64 len;
};

struct insecure_time_info {
	u64 version, frequency;
};

/* A queue of asynchronous usercalls, see async.h. */
struct fifo_descriptor {
	void *data;
	u64 len;
	u64 *offsets;
};

/* The raw stub. is_exit marks the enclave as ended: no entry works after. */
struct pair usercall(u64 nr, u64 a1, u64 a2, u64 is_exit, u64 a3, u64 a4);

/* A usercall with all four arguments, as they are. */
static inline struct pair uc(u64 nr, u64 a1, u64 a2, u64 a3, u64 a4)
{
	return usercall(nr, a1, a2, 0, a3, a4);
}

static inline struct pair uc_read(u64 fd, void *host, u64 len) { return uc(UC_READ, fd, (u64)host, len, 0); }
static inline struct pair uc_read_alloc(u64 fd, struct byte_buffer *host) { return uc(UC_READ_ALLOC, fd, (u64)host, 0, 0); }
static inline struct pair uc_write(u64 fd, const void *host, u64 len) { return uc(UC_WRITE, fd, (u64)host, len, 0); }
static inline struct pair uc_flush(u64 fd) { return uc(UC_FLUSH, fd, 0, 0, 0); }
static inline struct pair uc_close(u64 fd) { return uc(UC_CLOSE, fd, 0, 0, 0); }
static inline struct pair uc_bind_stream(const void *host, u64 len, struct byte_buffer *local)
{
	return uc(UC_BIND_STREAM, (u64)host, len, (u64)local, 0);
}
static inline struct pair uc_accept_stream(u64 fd, struct byte_buffer *local, struct byte_buffer *peer)
{
	return uc(UC_ACCEPT_STREAM, fd, (u64)local, (u64)peer, 0);
}
static inline struct pair uc_connect_stream(const void *host, u64 len, struct byte_buffer *local, struct byte_buffer *peer)
{
	return uc(UC_CONNECT_STREAM, (u64)host, len, (u64)local, (u64)peer);
}
static inline struct pair uc_launch_thread(void) { return uc(UC_LAUNCH_THREAD, 0, 0, 0, 0); }
static inline struct pair uc_wait(u64 mask, u64 timeout) { return uc(UC_WAIT, mask, timeout, 0, 0); }
static inline struct pair uc_send(u64 events, u64 tcs) { return uc(UC_SEND, events, tcs, 0, 0); }
static inline struct pair uc_insecure_time(void) { return uc(UC_INSECURE_TIME, 0, 0, 0, 0); }
static inline struct pair uc_alloc(u64 size, u64 align) { return uc(UC_ALLOC, size, align, 0, 0); }
static inline struct pair uc_free(const void *host, u64 size, u64 align) { return uc(UC_FREE, (u64)host, size, align, 0); }
static inline struct pair uc_async_queues(void *usercalls, void *returns, void *cancels)
{
	return uc(UC_ASYNC_QUEUES, (u64)usercalls, (u64)returns, (u64)cancels, 0);
}
_Noreturn void uc_exit(u64 panic);

/* ---- the image --------------------------------------------------------- */

extern const volatile u64 HEAP_BASE, HEAP_SIZE, RELA, RELACOUNT, ENCLAVE_SIZE, CFGDATA_BASE, TEXT_BASE, TEXT_SIZE;
extern const volatile u8 DEBUG;
u8 *image_base(void);
/* Wholly outside of the enclave, so that reading it cannot be turned against us. */
int is_host_range(const void *p, u64 len);

/* ---- bytes and text ---------------------------------------------------- */

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
u64 parse_u64(const char *s);

/* %d %u %x %c %s %p, with l, 0, a width, and * for the width. %H takes a
   length (int) and bytes: hex. Returns the length that it would have had. */
size_t vformat(char *to, size_t cap, const char *format, va_list args);
size_t format(char *to, size_t cap, const char *format, ...);

/* Prints to fd 1 by alloc, write, free: one write a call, at most 1024 bytes. */
void print(const char *format, ...);
/* Writes all bytes to fd, panics if it cannot. */
void write_all(u64 fd, const void *bytes, size_t len);

/* ---- ending ------------------------------------------------------------ */

/* Puts text into the debug buffer, as far as it fits, without a NUL if it
   fills it. Nothing happens in an enclave that is not a debug one. */
void debug_text(const void *text, size_t len);
_Noreturn void panic(const char *format, ...);

#define CHECK(cond) \
	do { \
		if (!(cond)) \
			panic("%s:%d: %s", __FILE_NAME__, __LINE__, #cond); \
	} while (0)
#define CHECK_EQ(got, want) \
	do { \
		u64 got_ = (u64)(got), want_ = (u64)(want); \
		if (got_ != want_) \
			panic("%s:%d: %s is 0x%lx, want 0x%lx", __FILE_NAME__, __LINE__, #got, got_, want_); \
	} while (0)
/* Both values of a usercall. */
#define CHECK_PAIR(call, want_first, want_second) \
	do { \
		struct pair got_ = (call); \
		if (got_.first != (u64)(want_first) || got_.second != (u64)(want_second)) \
			panic("%s:%d: %s gave 0x%lx, 0x%lx, want 0x%lx, 0x%lx", __FILE_NAME__, __LINE__, #call, \
			      got_.first, got_.second, (u64)(want_first), (u64)(want_second)); \
	} while (0)

/* ---- memory ------------------------------------------------------------ */

/* The enclave's heap: never freed. Null when it is used up. */
void *heap_alloc(size_t size, size_t align);
/* Host memory; panics when there is none. */
void *host_alloc(size_t size, size_t align);
void host_free(const void *p, size_t size, size_t align);
/* A copy in host memory, align 1. */
void *host_copy(const void *bytes, size_t len);

/* ---- threads ----------------------------------------------------------- */

u64 this_tcs(void);
/* One word a TCS, zero at its first entry, kept when the TCS is used again. */
u64 thread_word(void);
void set_thread_word(u64 v);
static inline void cpu_relax(void) { __asm__ volatile("pause"); }
void spin_lock(u32 *lock);
void spin_unlock(u32 *lock);

#endif
