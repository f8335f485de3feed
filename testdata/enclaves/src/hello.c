/* Prints its arguments, one a line. With the argument "layout" it also prints
   the values that the converter filled in. */
#include "eos_edp.h"

static const char *volatile greeting[] = {"hello", "from the enclave"}; /* two relocations */

int enclave_main(int argc, char **argv)
{
	print("%s %s\n", greeting[0], greeting[1]);
	for (int i = 0; i < argc; i++)
		print("argv[%d] = %s\n", i, argv[i]);
	if (argc > 1 && strcmp(argv[1], "layout") == 0) {
		print("HEAP_BASE=0x%lx\nHEAP_SIZE=0x%lx\nENCLAVE_SIZE=0x%lx\nCFGDATA_BASE=0x%lx\n", HEAP_BASE, HEAP_SIZE,
		      ENCLAVE_SIZE, CFGDATA_BASE);
		print("RELA=0x%lx\nRELACOUNT=%lu\nTEXT_BASE=0x%lx\nTEXT_SIZE=0x%lx\nDEBUG=%u\n", RELA, RELACOUNT, TEXT_BASE,
		      TEXT_SIZE, (u32)DEBUG);
		print("base aligned: %s\n", (u64)image_base() % ENCLAVE_SIZE == 0 ? "yes" : "no");
	}
	return 0;
}
