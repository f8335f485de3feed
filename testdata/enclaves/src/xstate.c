/* Fills the vector registers, computes for a while, and checks that an
   asynchronous exit changed none: "xstate ROUNDS [THREADS]". Every register
   holds a pattern of its own, other for each thread. YMM is used if XFRM has
   bit 2. */
#include "sgx.h"

static u32 finished, next = 1;
static u64 rounds, main_tcs;
static int avx;

#define ALL_XMM                                                                                                        \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",     \
		"xmm13", "xmm14", "xmm15"

/* 16 registers of 32 bytes, loaded, kept while the loop runs, stored. All
   general registers that the loop does not need hold patterns too. */
static void __attribute__((noinline)) keep(const u8 in[512], u8 out[512], u64 spins, u64 gpr[8])
{
	if (avx)
		__asm__ volatile(
			"vmovdqu 0(%0), %%ymm0; vmovdqu 32(%0), %%ymm1; vmovdqu 64(%0), %%ymm2; vmovdqu 96(%0), %%ymm3;"
			"vmovdqu 128(%0), %%ymm4; vmovdqu 160(%0), %%ymm5; vmovdqu 192(%0), %%ymm6; vmovdqu 224(%0), %%ymm7;"
			"vmovdqu 256(%0), %%ymm8; vmovdqu 288(%0), %%ymm9; vmovdqu 320(%0), %%ymm10; vmovdqu 352(%0), %%ymm11;"
			"vmovdqu 384(%0), %%ymm12; vmovdqu 416(%0), %%ymm13; vmovdqu 448(%0), %%ymm14; vmovdqu 480(%0), %%ymm15"
			::"r"(in) : "memory", ALL_XMM);
	else
		__asm__ volatile(
			"movdqu 0(%0), %%xmm0; movdqu 32(%0), %%xmm1; movdqu 64(%0), %%xmm2; movdqu 96(%0), %%xmm3;"
			"movdqu 128(%0), %%xmm4; movdqu 160(%0), %%xmm5; movdqu 192(%0), %%xmm6; movdqu 224(%0), %%xmm7;"
			"movdqu 256(%0), %%xmm8; movdqu 288(%0), %%xmm9; movdqu 320(%0), %%xmm10; movdqu 352(%0), %%xmm11;"
			"movdqu 384(%0), %%xmm12; movdqu 416(%0), %%xmm13; movdqu 448(%0), %%xmm14; movdqu 480(%0), %%xmm15"
			::"r"(in) : "memory", ALL_XMM);
	__asm__ volatile(
		"mov $0x1111111111111111, %%r8; mov $0x2222222222222222, %%r9; mov $0x3333333333333333, %%r10;"
		"mov $0x4444444444444444, %%r11; mov $0x5555555555555555, %%r12; mov $0x6666666666666666, %%r13;"
		"mov $0x7777777777777777, %%r14; mov $0x0888888888888888, %%r15; stc;"
		"1: lea -1(%0), %0; jrcxz 2f; jmp 1b;"
		"2: jnc 3f;" /* the flags, too */
		"mov %%r8, 0(%1); mov %%r9, 8(%1); mov %%r10, 16(%1); mov %%r11, 24(%1);"
		"mov %%r12, 32(%1); mov %%r13, 40(%1); mov %%r14, 48(%1); mov %%r15, 56(%1); 3:"
		: "+c"(spins) : "r"(gpr) : "memory", "cc", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15");
	if (avx)
		__asm__ volatile(
			"vmovdqu %%ymm0, 0(%0); vmovdqu %%ymm1, 32(%0); vmovdqu %%ymm2, 64(%0); vmovdqu %%ymm3, 96(%0);"
			"vmovdqu %%ymm4, 128(%0); vmovdqu %%ymm5, 160(%0); vmovdqu %%ymm6, 192(%0); vmovdqu %%ymm7, 224(%0);"
			"vmovdqu %%ymm8, 256(%0); vmovdqu %%ymm9, 288(%0); vmovdqu %%ymm10, 320(%0); vmovdqu %%ymm11, 352(%0);"
			"vmovdqu %%ymm12, 384(%0); vmovdqu %%ymm13, 416(%0); vmovdqu %%ymm14, 448(%0); vmovdqu %%ymm15, 480(%0);"
			"vzeroupper" ::"r"(out) : "memory", ALL_XMM);
	else
		__asm__ volatile(
			"movdqu %%xmm0, 0(%0); movdqu %%xmm1, 32(%0); movdqu %%xmm2, 64(%0); movdqu %%xmm3, 96(%0);"
			"movdqu %%xmm4, 128(%0); movdqu %%xmm5, 160(%0); movdqu %%xmm6, 192(%0); movdqu %%xmm7, 224(%0);"
			"movdqu %%xmm8, 256(%0); movdqu %%xmm9, 288(%0); movdqu %%xmm10, 320(%0); movdqu %%xmm11, 352(%0);"
			"movdqu %%xmm12, 384(%0); movdqu %%xmm13, 416(%0); movdqu %%xmm14, 448(%0); movdqu %%xmm15, 480(%0)"
			::"r"(out) : "memory", ALL_XMM);
}

static void work(u32 id)
{
	u8 in[512], out[512];
	for (u64 round = 0; round < rounds; round++) {
		u64 gpr[8] = {0};
		for (u32 i = 0; i < 512; i++)
			in[i] = (u8)(i * 7 + id * 31 + round);
		memset(out, 0, 512);
		keep(in, out, 1 << 20, gpr);
		for (u32 r = 0; r < 16; r++)
			if (memcmp(in + 32 * r, out + 32 * r, avx ? 32 : 16) != 0)
				panic("vector register %u changed in round %lu", r, round);
		for (u64 r = 0; r < 8; r++)
			CHECK_EQ(gpr[r], (r + 1) * 0x1111111111111111 & (r == 7 ? 0x0fffffffffffffff : ~0ull));
	}
}

struct pair enclave_thread(void)
{
	work(__atomic_fetch_add(&next, 1, __ATOMIC_SEQ_CST));
	__atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
	CHECK_PAIR(uc_send(EV_UNPARK, main_tcs), 0, 0);
	return (struct pair){0, 0};
}

int enclave_main(int argc, char **argv)
{
	struct sgx_report report;
	sgx_self_report(NULL, &report);
	avx = (report.xfrm & 4) != 0;
	rounds = argc > 1 ? parse_u64(argv[1]) : 10;
	u64 threads = argc > 2 ? parse_u64(argv[2]) : 0;
	main_tcs = this_tcs();
	for (u64 i = 0; i < threads; i++)
		CHECK_PAIR(uc_launch_thread(), 0, 0);
	work(0);
	while (__atomic_load_n(&finished, __ATOMIC_SEQ_CST) < threads)
		CHECK_EQ(uc_wait(EV_UNPARK, WAIT_INDEFINITE).first, 0);
	print("ok %s, %lu rounds, %lu threads\n", avx ? "ymm" : "xmm", rounds, threads + 1);
	return 0;
}
