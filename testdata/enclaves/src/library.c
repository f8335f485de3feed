/* A library: convert with --library. p1 picks what a call does. */
#include "eos_edp.h"

const volatile int enclave_is_library = 1;

enum {
	ADD = 0,       /* (p2 + p3 + p4 + p5, calls so far) */
	ECHO = 1,      /* (p2, p3) */
	ECHO45 = 2,    /* (p4, p5) */
	WRITE = 3,     /* a line to fd 1 */
	SLEEP = 4,     /* p2 ns, then (result, 0) */
	LAUNCH = 5,    /* launch_thread, its two values */
	EXIT = 6,      /* exit(p2) */
	WORD = 7,      /* the thread word of the TCS, and sets it to p2 */
	FAULT = 8,     /* ud2 */
	FOREVER = 9,   /* wait(0, indefinite) */
	WAIT = 10,     /* wait(p2, p3) */
	SEND = 11,     /* send(p2, p3) */
	TCS = 12,      /* (address of the TCS, base) */
	SPIN = 13,     /* p2 rounds */
	PANIC = 14,    /* with text */
	USERCALL = 15, /* number p2, arguments p3, p4, p5, 0 */
};

struct pair enclave_library(u64 p1, u64 p2, u64 p3, u64 p4, u64 p5)
{
	static u64 calls;
	u64 n = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
	u64 word;
	switch (p1) {
	case ADD:
		return (struct pair){p2 + p3 + p4 + p5, n};
	case ECHO:
		return (struct pair){p2, p3};
	case ECHO45:
		return (struct pair){p4, p5};
	case WRITE:
		print("library call %lu\n", p2);
		return (struct pair){0, 0};
	case SLEEP:
		return uc_wait(0, p2);
	case LAUNCH:
		return uc_launch_thread();
	case EXIT:
		uc_exit(p2);
	case WORD:
		word = thread_word();
		set_thread_word(p2);
		return (struct pair){word, 0};
	case FAULT:
		__asm__ volatile("ud2");
		break;
	case FOREVER:
		return uc_wait(0, WAIT_INDEFINITE);
	case WAIT:
		return uc_wait(p2, p3);
	case SEND:
		return uc_send(p2, p3);
	case TCS:
		return (struct pair){this_tcs(), (u64)image_base()};
	case SPIN:
		for (u64 i = 0; i < p2; i++)
			cpu_relax();
		return (struct pair){p2, 0};
	case PANIC:
		panic("panic of a library, %lu", p2);
	case USERCALL:
		return uc(p2, p3, p4, p5, 0);
	}
	panic("the library has no call %lu", p1);
}
