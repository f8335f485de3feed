#include "eos_edp.h"

#ifdef EOS_LARGE_BSS
__attribute__((used)) u8 eos_large_bss[64 << 10];
#endif

/* ---- the image --------------------------------------------------------- */

extern u8 __ehdr_start[] __attribute__((visibility("hidden")));

u8 *image_base(void) { return __ehdr_start; }

int is_host_range(const void *p, u64 len)
{
	u64 start = (u64)p, base = (u64)image_base();
	if (start + len < start)
		return 0;
	return start + len <= base || start >= base + ENCLAVE_SIZE;
}

/* The program is linked for address 0 and loaded anywhere: each relocation
   adds the base. Nothing that needs one may be touched before. The table lies
   in the image, so it is measured. */
static void relocate(void)
{
	struct {
		u64 offset, info, addend;
	} *r = (void *)(image_base() + RELA);
	for (u64 i = 0; i < RELACOUNT; i++)
		*(u64 *)(image_base() + r[i].offset) = (u64)image_base() + r[i].addend;
}

/* In an executable the main thread enters first. In a library any thread may
   be the first, so the others wait. */
void eos_first_entry(int secondary)
{
	static u32 state; /* 0 untouched, 1 at work, 2 done */
	u32 untouched = 0;
	if (!secondary && __atomic_compare_exchange_n(&state, &untouched, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
		relocate();
		__atomic_store_n(&state, 2, __ATOMIC_RELEASE);
	}
	while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != 2)
		cpu_relax();
}

/* ---- entry and exit ---------------------------------------------------- */

int eos_return_from_entry;

__attribute__((weak)) int enclave_main(int argc, char **argv)
{
	(void)argc, (void)argv;
	panic("this enclave has no main: it is a library");
}

__attribute__((weak)) struct pair enclave_thread(void) { panic("this enclave has no threads"); }

__attribute__((weak)) struct pair enclave_library(u64 p1, u64 p2, u64 p3, u64 p4, u64 p5)
{
	(void)p1, (void)p2, (void)p3, (void)p4, (void)p5;
	panic("this enclave is not a library");
}

__attribute__((weak)) const volatile int enclave_is_library = 0;

/* Copies the arguments in and gives their host memory back, piece by piece. */
static char **take_args(struct byte_buffer *host, u64 count)
{
	CHECK(count < 4096);
	CHECK(is_host_range(host, count * sizeof *host));
	char **argv = heap_alloc((count + 1) * sizeof *argv, sizeof *argv);
	CHECK(argv != NULL);
	for (u64 i = 0; i < count; i++) {
		struct byte_buffer b = ((volatile struct byte_buffer *)host)[i];
		CHECK(is_host_range(b.data, b.len));
		argv[i] = heap_alloc(b.len + 1, 1);
		CHECK(argv[i] != NULL);
		memcpy(argv[i], b.data, b.len);
		argv[i][b.len] = 0;
		if (b.len)
			host_free(b.data, b.len, 1);
	}
	argv[count] = NULL;
	if (count)
		host_free(host, count * sizeof *host, 1);
	return argv;
}

struct pair eos_entry(u64 p1, u64 p2, u64 p3, u64 secondary, u64 p4, u64 p5)
{
	if (enclave_is_library)
		return enclave_library(p1, p2, p3, p4, p5);
	if (secondary) {
		if (p1 | p2 | p3 | p4 | p5)
			panic("a thread was entered with arguments");
		return enclave_thread();
	}
	if (p3 | p4 | p5)
		panic("main was entered with more than two arguments");
	int status = enclave_main((int)p2, take_args((struct byte_buffer *)p1, p2));
	if (eos_return_from_entry)
		return (struct pair){0, 0};
	if (status != 0)
		panic("Exited with status code %d", status);
	uc_exit(0);
}

void eos_entry_after_exit(void)
{
	uc_exit(0);
}

_Noreturn void uc_exit(u64 panic)
{
	usercall(UC_EXIT, panic, 0, 1, 0, 0);
	__builtin_trap();
}

void debug_text(const void *text, size_t len)
{
	u8 *buf;
	__asm__ volatile("mov %%gs:0x20, %0" : "=r"(buf));
	if (!DEBUG || buf == NULL || !is_host_range(buf, 1024))
		return;
	if (len > 1024)
		len = 1024;
	memcpy(buf, text, len);
	if (len < 1024)
		buf[len] = 0;
}

_Noreturn void panic(const char *f, ...)
{
	char text[1024];
	va_list args;
	va_start(args, f);
	size_t n = vformat(text, sizeof text, f, args);
	va_end(args);
	debug_text(text, n);
	uc_exit(1);
}

/* ---- memory ------------------------------------------------------------ */

void *heap_alloc(size_t size, size_t align)
{
	static u64 used;
	u64 old = __atomic_load_n(&used, __ATOMIC_RELAXED), start;
	do {
		start = (old + align - 1) & -(u64)align;
		if (start > HEAP_SIZE || size > HEAP_SIZE - start)
			return NULL;
	} while (!__atomic_compare_exchange_n(&used, &old, start + size, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return image_base() + HEAP_BASE + start;
}

void *host_alloc(size_t size, size_t align)
{
	struct pair r = uc_alloc(size, align);
	if (r.first)
		panic("alloc(%lu, %lu) failed: 0x%lx", size, align, r.first);
	if (!is_host_range((void *)r.second, size) || r.second % align)
		panic("alloc(%lu, %lu) gave 0x%lx", size, align, r.second);
	return (void *)r.second;
}

void host_free(const void *p, size_t size, size_t align)
{
	struct pair r = uc_free(p, size, align);
	if (r.first | r.second)
		panic("free gave 0x%lx, 0x%lx", r.first, r.second);
}

void *host_copy(const void *bytes, size_t len)
{
	return memcpy(host_alloc(len, 1), bytes, len);
}

/* ---- printing ---------------------------------------------------------- */

void write_all(u64 fd, const void *bytes, size_t len)
{
	u8 *host = host_copy(bytes, len);
	for (size_t done = 0; done < len;) {
		struct pair r = uc_write(fd, host + done, len - done);
		if (r.first || r.second == 0 || r.second > len - done)
			panic("write to fd %lu gave 0x%lx, 0x%lx", fd, r.first, r.second);
		done += r.second;
	}
	host_free(host, len, 1);
}

void print(const char *f, ...)
{
	char text[1024];
	va_list args;
	va_start(args, f);
	size_t n = vformat(text, sizeof text, f, args);
	va_end(args);
	if (n)
		write_all(1, text, n < sizeof text ? n : sizeof text);
}

/* ---- threads ----------------------------------------------------------- */

u64 this_tcs(void)
{
	u64 v;
	__asm__ volatile("mov %%gs:0x68, %0" : "=r"(v));
	return v;
}

u64 thread_word(void)
{
	u64 v;
	__asm__ volatile("mov %%gs:0x60, %0" : "=r"(v));
	return v;
}

void set_thread_word(u64 v) { __asm__ volatile("mov %0, %%gs:0x60" ::"r"(v)); }

void spin_lock(u32 *lock)
{
	while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
		cpu_relax();
}

void spin_unlock(u32 *lock) { __atomic_store_n(lock, 0, __ATOMIC_RELEASE); }
