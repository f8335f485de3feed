package platformtest

import (
	"encoding/binary"
	"fmt"
)

// ops is the instructions of the test enclaves: Intel syntax and bytes. A test
// decodes each with a disassembler and compares.
var ops = map[string]string{
	"mov rbx, rcx":                     "\x48\x89\xcb",
	"mov rbx, r11":                     "\x4c\x89\xdb",
	"mov rbx, r12":                     "\x4c\x89\xe3",
	"mov rdi, rax":                     "\x48\x89\xc7",
	"mov rsi, rbx":                     "\x48\x89\xde",
	"mov rdx, rcx":                     "\x48\x89\xca",
	"mov rdi, r8":                      "\x4c\x89\xc7",
	"mov rdi, r9":                      "\x4c\x89\xcf",
	"mov r8, rsi":                      "\x49\x89\xf0",
	"mov r9, rax":                      "\x49\x89\xc1",
	"mov r11, rcx":                     "\x49\x89\xcb",
	"mov r12, rcx":                     "\x49\x89\xcc",
	"mov rsi, rdi":                     "\x48\x89\xfe",
	"mov rax, qword ptr [rax]":         "\x48\x8b\x00",
	"mov rax, qword ptr [rdi]":         "\x48\x8b\x07",
	"mov eax, dword ptr [rdi]":         "\x8b\x07",
	"mov rdi, qword ptr [rdi]":         "\x48\x8b\x3f",
	"mov qword ptr [rdi], rax":         "\x48\x89\x07",
	"mov qword ptr [rdi], rsi":         "\x48\x89\x37",
	"mov qword ptr [rsi], rax":         "\x48\x89\x06",
	"inc qword ptr [rdi]":              "\x48\xff\x07",
	"add qword ptr [rdi], 0x2":         "\x48\x83\x07\x02",
	"cmp qword ptr [rdi], 0x0":         "\x48\x83\x3f\x00",
	"test eax, eax":                    "\x85\xc0",
	"test rdx, rdx":                    "\x48\x85\xd2",
	"test rsi, rsi":                    "\x48\x85\xf6",
	"mov r10, rdi":                     "\x49\x89\xfa",
	"mov rdi, r10":                     "\x4c\x89\xd7",
	"mov rdi, qword ptr fs:[0x0]":      "\x64\x48\x8b\x3c\x25\x00\x00\x00\x00",
	"mov rsi, qword ptr gs:[0x0]":      "\x65\x48\x8b\x34\x25\x00\x00\x00\x00",
	"inc qword ptr gs:[0x0]":           "\x65\x48\xff\x04\x25\x00\x00\x00\x00",
	"mov rsi, qword ptr [rdi]":         "\x48\x8b\x37",
	"dec rdx":                          "\x48\xff\xca",
	"wrfsbase rdi":                     "\xf3\x48\x0f\xae\xd7",
	"rdfsbase rdi":                     "\xf3\x48\x0f\xae\xc7",
	"vmovdqu ymm0, ymmword ptr [rdi]":  "\xc5\xfe\x6f\x07",
	"vmovdqu ymm15, ymmword ptr [rdi]": "\xc5\x7e\x6f\x3f",
	"vmovdqu ymmword ptr [rdi], ymm0":  "\xc5\xfe\x7f\x07",
	"vmovdqu ymmword ptr [rdi], ymm15": "\xc5\x7e\x7f\x3f",
	"vzeroupper":                       "\xc5\xf8\x77",
	"not rdi":                          "\x48\xf7\xd7",
	"not rsi":                          "\x48\xf7\xd6",
	"not rdx":                          "\x48\xf7\xd2",
	"not r8":                           "\x49\xf7\xd0",
	"not r9":                           "\x49\xf7\xd1",
	"not r10":                          "\x49\xf7\xd2",
	"xor edx, edx":                     "\x31\xd2",
	"xor eax, eax":                     "\x31\xc0",
	"setz dl":                          "\x0f\x94\xc2",
	"movzx edx, dl":                    "\x0f\xb6\xd2",
	"div eax":                          "\xf7\xf0",
	"jmp rdi":                          "\xff\xe7",
	"call rdi":                         "\xff\xd7",
	"push rax":                         "\x50",
	"pushfq":                           "\x9c",
	"popfq":                            "\x9d",
	"pause":                            "\xf3\x90",
	"stc":                              "\xf9",
	"std":                              "\xfd",
	"int3":                             "\xcc",
	"int 0x80":                         "\xcd\x80",
	"int 0x20":                         "\xcd\x20",
	"syscall":                          "\x0f\x05",
	"cpuid":                            "\x0f\xa2",
	"hlt":                              "\xf4",
	"ud2":                              "\x0f\x0b",
	"enclu":                            "\x0f\x01\xd7",
	"rep movsb":                        "\xf3\xa4",
	"movq xmm0, rdi":                   "\x66\x48\x0f\x6e\xc7",
	"movq rdi, xmm0":                   "\x66\x48\x0f\x7e\xc7",
	"movq xmm15, rsi":                  "\x66\x4c\x0f\x6e\xfe",
	"movq rsi, xmm15":                  "\x66\x4c\x0f\x7e\xfe",
	"xorps xmm0, xmm0":                 "\x0f\x57\xc0",
	"divss xmm0, xmm0":                 "\xf3\x0f\x5e\xc0",
	"ldmxcsr dword ptr [rdi]":          "\x0f\xae\x17",
	"fninit":                           "\xdb\xe3",
	"fldcw word ptr [rdi]":             "\xd9\x2f",
	"fld1":                             "\xd9\xe8",
	"fldz":                             "\xd9\xee",
	"fdivp st1, st0":                   "\xde\xf9",
	"fwait":                            "\x9b",
	"or dword ptr [rsp], 0x40000":      "\x81\x0c\x24\x00\x00\x04\x00",
}

// registers has the numbers that instructions encode.
var registers = map[string]byte{
	"rax": 0, "rcx": 1, "rdx": 2, "rbx": 3, "rsp": 4, "rbp": 5, "rsi": 6, "rdi": 7,
	"r8": 8, "r9": 9, "r10": 10, "r11": 11, "r12": 12, "r13": 13, "r14": 14, "r15": 15,
}

// conditions has the second byte of a near jump.
var conditions = map[string]byte{"je": 0x84, "jne": 0x85}

// asm assembles code for one place in an enclave.
type asm struct {
	org uint64 // offset in the enclave of the first byte
	b   []byte
}

// pos is the offset in the enclave of the next instruction.
func (a *asm) pos() uint64 { return a.org + uint64(len(a.b)) }

// op appends instructions of the table.
func (a *asm) op(text ...string) {
	for _, s := range text {
		b, ok := ops[s]
		if !ok {
			panic(fmt.Sprintf("platformtest: instruction %q is not in the table", s))
		}
		a.b = append(a.b, b...)
	}
}

// mov loads a constant: movabs reg, v.
func (a *asm) mov(reg string, v uint64) {
	r := registers[reg]
	a.b = append(a.b, 0x48|r>>3, 0xb8|r&7)
	a.b = binary.LittleEndian.AppendUint64(a.b, v)
}

// lea loads the address of an offset in the enclave: lea reg, [rip+x].
func (a *asm) lea(reg string, off uint64) {
	r := registers[reg]
	a.b = append(a.b, 0x48|r>>3<<2, 0x8d, r&7<<3|5)
	a.rel(off)
}

// jump appends jmp, je or jne to an offset in the enclave.
func (a *asm) jump(op string, off uint64) {
	if op == "jmp" {
		a.b = append(a.b, 0xe9)
	} else {
		a.b = append(a.b, 0x0f, conditions[op])
	}
	a.rel(off)
}

// rel appends the distance from the end of the instruction to off.
func (a *asm) rel(off uint64) {
	a.b = binary.LittleEndian.AppendUint32(a.b, uint32(off-a.pos()-4))
}

// exit leaves to the address in RCX, which EENTER put there: RBX = target,
// RAX = 4 (EEXIT). The UD2 is never reached; it makes the five bytes by which
// compilers' run-times end, and which a platform may replace.
func (a *asm) exit() {
	a.op("mov rbx, rcx")
	a.mov("rax", 4)
	a.op("enclu", "ud2")
}

// skipTo pads with INT3 up to an offset in the enclave.
func (a *asm) skipTo(off uint64) {
	if a.pos() > off {
		panic(fmt.Sprintf("platformtest: code is at %#x already, wanted %#x", a.pos(), off))
	}
	for a.pos() < off {
		a.b = append(a.b, 0xcc)
	}
}

// entryCode returns the code page: the entry point looks at RAX, the number of
// SSA frames in use, and goes to first at 0, to handler else. A nil handler
// exits with RDI = CSSA.
func entryCode(first, handler func(a *asm)) []byte {
	a := &asm{org: offCode}
	a.op("test eax, eax")
	a.jump("jne", offHandler)
	first(a)
	a.skipTo(offHandler)
	if handler == nil {
		handler = func(a *asm) { a.op("mov rdi, rax"); a.exit() }
	}
	handler(a)
	a.skipTo(offCode + 4096)
	return a.b
}
