/* Memory at its end, by the first argument. "host": huge host allocations fail
   cleanly and small ones go on working. "heap": the enclave's heap is used to
   its last byte. "hold N SIZE": holds N host allocations of SIZE bytes, writes
   to each, frees all. "heap-beyond": touches the byte behind the heap. */
#include "eos_edp.h"

int enclave_main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "host";
	if (strcmp(what, "host") == 0) {
		for (int bits = 62; bits >= 48; bits--)
			CHECK_PAIR(uc_alloc(1ull << bits, 8), E_OTHER, 0);
		for (int i = 0; i < 100; i++)
			host_free(host_alloc(4096, 8), 4096, 8);
		print("ok host\n");
		return 0;
	}
	if (strcmp(what, "heap") == 0) {
		u64 pages = 0, first = HEAP_BASE + (u64)image_base();
		u8 *p, *last = NULL;
		while ((p = heap_alloc(4096, 4096)) != NULL) {
			CHECK((u64)p >= first && (u64)p + 4096 <= first + HEAP_SIZE);
			if (p != (u8 *)first) /* the arguments lie on the first page */
				for (int i = 0; i < 4096; i += 512)
					CHECK_EQ(*(u64 *)(p + i), 0);
			memset(p, (int)pages, 4096);
			last = p;
			pages++;
		}
		CHECK(last != NULL);
		CHECK_EQ((u64)last + 4096, first + HEAP_SIZE);
		CHECK(heap_alloc(1, 1) == NULL);
		print("ok heap %lu pages\n", pages);
		return 0;
	}
	if (strcmp(what, "heap-beyond") == 0) {
		*(volatile u8 *)(image_base() + HEAP_BASE + HEAP_SIZE - 1) = 1;
		print("last byte written\n");
		*(volatile u8 *)(image_base() + HEAP_BASE + HEAP_SIZE) = 1;
	}
	if (strcmp(what, "hold") == 0 && argc == 4) {
		u64 count = parse_u64(argv[2]), size = parse_u64(argv[3]);
		u8 **p = heap_alloc(count * sizeof *p, 8);
		CHECK(p != NULL);
		for (u64 i = 0; i < count; i++) {
			p[i] = host_alloc(size, 8);
			p[i][0] = p[i][size - 1] = (u8)i;
		}
		for (u64 i = 0; i < count; i++) {
			CHECK_EQ(p[i][0], (u8)i);
			host_free(p[i], size, 1);
		}
		print("ok hold\n");
		return 0;
	}
	panic("usage: oom host|heap|heap-beyond|hold N SIZE");
}
