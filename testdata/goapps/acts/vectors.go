package main

import (
	"fmt"
	"unsafe"
)

// registers are what a processor has beside the general registers, as far as it is
// written by yieldDirty.
type registers struct {
	fx  [512]byte    // FXSAVE: x87, MXCSR, X0 to X15
	ymm [16][32]byte // Y0 to Y15
	zmm [16][64]byte // Z16 to Z31
	k   [8]uint64    // K0 to K7
	all [16]byte     // room to align
}

// yieldDirty puts a bit pattern in all registers, those of AVX-512 if there are any,
// makes a system call that leaves the enclave, and stores what is then in them.
//
//go:noescape
func yieldDirty(r *registers, avx512 bool)

// hasAVX512 asks XGETBV.
func hasAVX512() bool

// vectors says what the way out and in leaves in registers.
func vectors([]string) {
	buf := make([]byte, 2*unsafe.Sizeof(registers{}))
	r := (*registers)(unsafe.Pointer(&buf[-uintptr(unsafe.Pointer(&buf[0]))&63]))
	for range 3 {
		avx512 := hasAVX512()
		yieldDirty(r, avx512)
		want := registers{}
		want.fx[0], want.fx[1] = 0x7f, 0x03   // the x87 control word
		want.fx[24], want.fx[25] = 0x80, 0x1f // MXCSR
		copy(want.fx[28:32], r.fx[28:32])     // MXCSR's mask is the processor's
		copy(want.fx[416:], r.fx[416:])       // nothing
		if *r != want {
			fmt.Printf("registers %x\n", *r)
			return
		}
	}
	fmt.Println("registers are clean")
}
