//go:build linux

#include "textflag.h"

// func cpuid(leaf, sub uint32) (a, b, c, d uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL	leaf+0(FP), AX
	MOVL	sub+4(FP), CX
	CPUID
	MOVL	AX, a+8(FP)
	MOVL	BX, b+12(FP)
	MOVL	CX, c+16(FP)
	MOVL	DX, d+20(FP)
	RET

// func xgetbv() uint64
TEXT ·xgetbv(SB), NOSPLIT, $0-8
	XORL	CX, CX
	XGETBV
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+0(FP)
	RET

// func hostState() (fs, gs, cs, ss uint64, mxcsr uint32, fcw uint16)
TEXT ·hostState(SB), NOSPLIT, $8-38
	RDFSBASEQ	AX
	MOVQ	AX, fs+0(FP)
	RDGSBASEQ	AX
	MOVQ	AX, gs+8(FP)
	XORL	AX, AX
	MOVW	CS, AX
	MOVQ	AX, cs+16(FP)
	XORL	AX, AX
	MOVW	SS, AX
	MOVQ	AX, ss+24(FP)
	STMXCSR	0(SP)
	MOVL	0(SP), AX
	MOVL	AX, mxcsr+32(FP)
	FSTCW	0(SP)
	MOVW	0(SP), AX
	MOVW	AX, fcw+36(FP)
	RET

// func fxsaveMask() uint32
TEXT ·fxsaveMask(SB), NOSPLIT, $528-4
	LEAQ	15(SP), AX
	ANDQ	$~15, AX
	MOVL	$0, 28(AX)
	FXSAVE64	(AX)
	MOVL	28(AX), AX
	MOVL	AX, ret+0(FP)
	RET
