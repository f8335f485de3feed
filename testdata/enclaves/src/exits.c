/* The ways in which an enclave ends, by the first argument. Some want a second
   TCS. */
#include "eos_edp.h"

static const char *how;

struct pair enclave_thread(void)
{
	if (strcmp(how, "thread-value") == 0)
		return (struct pair){7, 0};
	if (strcmp(how, "thread-second-value") == 0)
		return (struct pair){0, 7};
	if (strcmp(how, "thread-panic") == 0)
		panic("panic of a thread");
	if (strcmp(how, "thread-exit") == 0)
		uc_exit(0);
	if (strcmp(how, "thread-waits") == 0)
		uc_wait(0, WAIT_INDEFINITE);
	if (strcmp(how, "exit-while-waiting") == 0 || strcmp(how, "panic-while-waiting") == 0)
		uc_wait(EV_UNPARK, WAIT_INDEFINITE);
	if (strcmp(how, "exit-while-spinning") == 0)
		for (;;)
			cpu_relax();
	return (struct pair){0, 0};
}

static void launch(void)
{
	CHECK_PAIR(uc_launch_thread(), 0, 0);
}

int enclave_main(int argc, char **argv)
{
	u8 text[1024];
	how = argc > 1 ? argv[1] : "ok";

	if (strcmp(how, "ok") == 0)
		return 0;
	if (strcmp(how, "exit-0") == 0)
		uc_exit(0);
	if (strcmp(how, "exit-1") == 0) /* no text */
		uc_exit(1);
	if (strcmp(how, "exit-2") == 0) /* not a bool */
		uc_exit(2);
	if (strcmp(how, "status") == 0)
		return (int)parse_u64(argv[2]);
	if (strcmp(how, "text") == 0)
		panic("so it ends, at %d", 7);
	if (strcmp(how, "text-1024") == 0) {
		memset(text, 'x', 1024);
		text[1023] = '!';
		debug_text(text, 1024);
		uc_exit(1);
	}
	if (strcmp(how, "text-nul") == 0) { /* the first NUL ends it */
		debug_text("before\0after", 12);
		uc_exit(1);
	}
	if (strcmp(how, "text-invalid") == 0) {
		debug_text("bad \xff\xfe text", 11);
		uc_exit(1);
	}
	if (strcmp(how, "text-lines") == 0)
		panic("first line\nsecond line\t\x1b[31mred");
	if (strcmp(how, "text-then-usercall") == 0) {
		debug_text("text before a usercall", 22);
		print("still alive\n");
		uc_exit(1);
	}
	if (strcmp(how, "return") == 0) {
		eos_return_from_entry = 1;
		return 0;
	}
	if (strcmp(how, "unknown-usercall") == 0)
		uc(0x1234, 1, 2, 3, 4);
	if (strcmp(how, "usercall-17") == 0)
		uc(17, 0, 0, 0, 0);
	if (strcmp(how, "user-defined") == 0) {
		struct pair r = uc(USERCALL_USER_DEFINED | 1, 1, 2, 3, 4);
		print("user-defined gave 0x%lx, 0x%lx\n", r.first, r.second);
		return 0;
	}
	if (strcmp(how, "large-usercall") == 0) /* low half is that of flush */
		uc(1ull << 32 | UC_FLUSH, 1, 0, 0, 0);
	if (strcmp(how, "messy") == 0 || strcmp(how, "messy-stack") == 0) {
		/* exit(0), but with nothing restored that the host may have liked: flags,
		   vector and x87 state, FS and GS, all registers; "messy-stack": RSP too. */
		u64 keep_stack = strcmp(how, "messy") == 0;
		__asm__ volatile(
			"mov %%gs:0x30, %%rbx; mov %%gs:0x28, %%rcx; test %0, %0; jz 1f; mov %%rcx, %%rsp; jmp 2f;"
			"1: mov $0x18, %%rsp; 2: pcmpeqb %%xmm0, %%xmm0; movaps %%xmm0, %%xmm7; movaps %%xmm0, %%xmm15;"
			"fldz; fldz; fldz; fldz; fldz; fldz; fldz; xor %%eax, %%eax; wrgsbase %%rax; wrfsbase %%rax;"
			"mov $-1, %%rbp; mov $-1, %%r12; mov $-1, %%r13; mov $-1, %%r14; mov $-1, %%r15;"
			"mov $10, %%edi; xor %%esi, %%esi; xor %%edx, %%edx; xor %%r8d, %%r8d; xor %%r9d, %%r9d; std;"
			"mov $4, %%eax; enclu" ::"r"(keep_stack) : "memory");
	}
	if (strcmp(how, "wait-forever") == 0)
		uc_wait(0, WAIT_INDEFINITE);
	if (strcmp(how, "unused-argument") == 0) /* flush has one */
		uc(UC_FLUSH, 1, 5, 0, 0);
	if (strcmp(how, "unused-argument-4") == 0)
		uc(UC_READ, 0, 0, 0, 1);
	if (strcmp(how, "free-alignment") == 0)
		uc_free(host_alloc(16, 8), 16, 3);
	if (strcmp(how, "free-alignment-0") == 0)
		uc_free((void *)0x1000, 0, 3);
	if (strcmp(how, "free-wild") == 0)
		uc_free((void *)0x12345678, 16, 1);
	if (strcmp(how, "free-twice") == 0) {
		void *p = host_alloc(16, 8);
		host_free(p, 16, 8);
		uc_free(p, 16, 8);
	}
	if (strcmp(how, "free-size") == 0)
		uc_free(host_alloc(16, 8), 4096, 8);
	if (strcmp(how, "free-inner") == 0)
		uc_free((u8 *)host_alloc(64, 8) + 8, 16, 8);
	if (strcmp(how, "write-wild") == 0) { /* a pointer to nothing */
		struct pair r = uc_write(1, (void *)0x10, 16);
		print("write gave 0x%lx, 0x%lx\n", r.first, r.second);
		return 0;
	}
	if (strcmp(how, "write-enclave") == 0) { /* the host may not read it */
		struct pair r = uc_write(1, image_base(), 16);
		print("write gave 0x%lx, 0x%lx\n", r.first, r.second);
		return 0;
	}
	if (memcmp(how, "thread-", strlen(how) < 7 ? strlen(how) : 7) == 0) {
		launch();
		uc_wait(0, 50 * 1000000);
		print("main goes on\n");
		return 0;
	}
	if (strcmp(how, "exit-while-waiting") == 0 || strcmp(how, "exit-while-spinning") == 0) {
		launch();
		uc_wait(0, 20 * 1000000);
		print("main exits\n");
		return 0;
	}
	if (strcmp(how, "panic-while-waiting") == 0) {
		launch();
		uc_wait(0, 20 * 1000000);
		panic("main ends while a thread waits");
	}
	panic("no end is called \"%s\", or it came to none", how);
}
