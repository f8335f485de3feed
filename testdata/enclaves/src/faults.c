/* Does the forbidden thing that its first argument names. Before a page fault
   at an address that is not the obvious one it prints that address, as an
   offset from the image base. If nothing happens it says so and exits with
   status 1. */
#include "eos_edp.h"

static u8 data_page[4096] __attribute__((aligned(4096)));
static volatile u64 sink;

static void announce(u64 address)
{
	print("address 0x%lx\n", address - (u64)image_base());
}

static int __attribute__((noinline)) deeper(int n)
{
	volatile u8 frame[1024];
	frame[n % 1024] = (u8)n;
	if (n < 0)
		return 0;
	return deeper(n + 1) + frame[n % 1024];
}

static const u8 return_instruction[] = {0xc3};

static void call(const void *p) { ((void (*)(void))p)(); }

int enclave_main(int argc, char **argv)
{
	if (argc < 2)
		panic("name a fault");
	const char *f = argv[1];
	u8 *base = image_base();
	u64 stack_bottom, a, b, c, d;
	__asm__ volatile("mov %%gs:0, %0" : "=r"(stack_bottom));

	if (strcmp(f, "null-call") == 0)
		call(NULL);
	else if (strcmp(f, "null-read") == 0)
		sink = *(volatile u64 *)NULL;
	else if (strcmp(f, "stack-overflow") == 0)
		sink = (u64)deeper(0);
	else if (strcmp(f, "jump-out") == 0)
		call((void *)(((u64)base + ENCLAVE_SIZE + 0x1000) & ~0xfffull));
	else if (strcmp(f, "jump-host") == 0) {
		/* Code of the host that would return happily. */
		u8 *host = host_copy(return_instruction, 1);
		call(host);
	} else if (strcmp(f, "div") == 0)
		__asm__ volatile("xor %%edx, %%edx; xor %%ecx, %%ecx; mov $1, %%eax; div %%ecx" ::: "eax", "ecx", "edx");
	else if (strcmp(f, "ud2") == 0)
		__asm__ volatile("ud2");
	else if (strcmp(f, "int3") == 0)
		__asm__ volatile("int3");
	else if (strcmp(f, "int80") == 0)
		__asm__ volatile("int $0x80" : "=a"(a) : "a"(20) : "memory", "rcx", "r11");
	else if (strcmp(f, "syscall") == 0)
		__asm__ volatile("syscall" : "=a"(a) : "a"(39) : "memory", "rcx", "r11");
	else if (strcmp(f, "syscall-exit") == 0) /* would end the host */
		__asm__ volatile("syscall" : "=a"(a) : "a"(231), "D"(42) : "memory", "rcx", "r11");
	else if (strcmp(f, "syscall-write") == 0)
		__asm__ volatile("syscall" : "=a"(a) : "a"(1), "D"(2), "S"(f), "d"(3) : "memory", "rcx", "r11");
	else if (strcmp(f, "cpuid") == 0)
		__asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0));
	else if (strcmp(f, "hlt") == 0)
		__asm__ volatile("hlt");
	else if (strcmp(f, "in") == 0)
		__asm__ volatile("in $0x80, %%al" ::: "eax");
	else if (strcmp(f, "non-canonical") == 0)
		sink = *(volatile u64 *)0x8000000000000000;
	else if (strcmp(f, "write-text") == 0)
		announce((u64)base + TEXT_BASE), *(volatile u8 *)(base + TEXT_BASE) = 0;
	else if (strcmp(f, "write-rodata") == 0)
		announce((u64)return_instruction), *(volatile u8 *)return_instruction = 0;
	else if (strcmp(f, "write-header") == 0)
		announce((u64)base), *(volatile u8 *)base = 0;
	else if (strcmp(f, "exec-data") == 0)
		announce((u64)data_page), data_page[0] = 0xc3, call(data_page);
	else if (strcmp(f, "exec-heap") == 0)
		announce((u64)base + HEAP_BASE), *(volatile u8 *)(base + HEAP_BASE) = 0xc3, call(base + HEAP_BASE);
	else if (strcmp(f, "exec-rodata") == 0)
		announce((u64)return_instruction), call(return_instruction);
	else if (strcmp(f, "read-unmapped") == 0)
		announce((u64)base + CFGDATA_BASE), sink = *(volatile u64 *)(base + CFGDATA_BASE);
	else if (strcmp(f, "read-guard") == 0)
		announce((u64)base + HEAP_BASE + HEAP_SIZE + 0x8000),
			sink = *(volatile u64 *)(base + HEAP_BASE + HEAP_SIZE + 0x8000);
	else if (strcmp(f, "write-guard") == 0)
		announce((u64)base + HEAP_BASE + HEAP_SIZE), *(volatile u64 *)(base + HEAP_BASE + HEAP_SIZE) = 1;
	else if (strcmp(f, "read-tcs") == 0)
		announce(this_tcs()), sink = *(volatile u64 *)this_tcs();
	else if (strcmp(f, "write-tcs") == 0)
		announce(this_tcs()), *(volatile u64 *)this_tcs() = 0;
	else if (strcmp(f, "exit-nowhere") == 0)
		__asm__ volatile("enclu" : : "a"(4), "b"(0x1000) : "memory");
	else if (strcmp(f, "exit-inside") == 0)
		__asm__ volatile("enclu" : : "a"(4), "b"(base + TEXT_BASE) : "memory");
	else if (strcmp(f, "stack-nowhere") == 0)
		__asm__ volatile("mov $0x10, %%rsp; push %%rax" ::: "memory");
	else if (strcmp(f, "stack-nowhere-ud2") == 0)
		__asm__ volatile("mov $0x10, %%rsp; ud2" ::: "memory");
	else if (strcmp(f, "bases") == 0)
		__asm__ volatile("xor %%eax, %%eax; wrgsbase %%rax; wrfsbase %%rax; mov %%gs:0x10, %%rax" ::: "rax", "memory");
	else if (strcmp(f, "alignment") == 0) /* with AC set */
		__asm__ volatile("pushfq; orl $0x40000, (%%rsp); popfq; mov 1(%%rsp), %%rax" ::: "rax", "memory");
	else if (strcmp(f, "trap-flag") == 0) /* nothing: the TCS has no DBGOPTIN */
		__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop" ::: "memory");
	else if (strcmp(f, "x87") == 0) /* division by zero, unmasked */
		__asm__ volatile("pushq $0x37b; fldcw (%%rsp); pop %%rax; fld1; fldz; fdivrp; fwait" ::: "rax", "memory");
	else if (strcmp(f, "simd") == 0)
		__asm__ volatile("pushq $0x1d80; ldmxcsr (%%rsp); pop %%rax; xorps %%xmm0, %%xmm0;"
				 "mov $1, %%eax; cvtsi2ss %%eax, %%xmm1; divss %%xmm0, %%xmm1" ::: "rax", "xmm0", "xmm1", "memory");
	else
		panic("no fault is called \"%s\"", f);
	print("%s: nothing happened\n", f);
	return 1;
}
