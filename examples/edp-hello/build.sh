#!/bin/sh
# Builds hello.elf, or the file that is named: a position-independent program
# without any library, ready for "eos build". Needs gcc and GNU ld.
set -eu
out=$(realpath "${1:-$(dirname "$0")/hello.elf}")
cd "$(dirname "$0")"
runtime=../../testdata/enclaves/runtime
exec gcc -std=gnu11 -O2 -g -Wall -Wextra -ffreestanding -fPIE -fvisibility=hidden -fno-stack-protector \
	-fcf-protection=none -fno-tree-loop-distribute-patterns -I$runtime \
	-nostdlib -pie -Wl,--no-dynamic-linker,--no-undefined,--build-id=none,-e,elf_entry \
	-Wl,-z,separate-code,-z,max-page-size=4096,-z,norelro \
	-Wl,--export-dynamic,--version-script=$runtime/enclave.ver \
	$runtime/entry.S $runtime/runtime.c $runtime/bytes.c $runtime/sgx.c hello.c -o "$out"
