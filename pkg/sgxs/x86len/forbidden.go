package x86len

// Forbidden names the instruction if code inside an enclave cannot execute it:
// those of SDM vol. 3D 38.6.1 and table 38-1 ("illegal instructions"), and
// privileged ones, which no user program can. It returns "" for all others. RDTSC
// and RDTSCP, which SGX1 forbids and SGX2 allows, are among those named. INT3 is
// not, in either of its encodings: both end the enclave's thread, and that is
// what programs have it for.
func (i Inst) Forbidden(code []byte) string {
	if i.Vector {
		return ""
	}
	switch i.Map {
	case Map1:
		return i.forbidden1(code)
	case Map0F:
		return i.forbidden0F()
	}
	return ""
}

func (i Inst) forbidden1(code []byte) string {
	switch op := i.Opcode; op {
	case 0x6c, 0x6d:
		return "INS"
	case 0x6e, 0x6f:
		return "OUTS"
	case 0xe4, 0xe5, 0xec, 0xed:
		return "IN"
	case 0xe6, 0xe7, 0xee, 0xef:
		return "OUT"
	case 0x8e:
		return "MOV to a segment register"
	case 0xca, 0xcb:
		return "far RET"
	case 0xcd:
		if code[i.Len-1] != 3 {
			return "INT"
		}
	case 0xcf:
		return "IRET"
	case 0xf1:
		return "INT1"
	case 0xf4:
		return "HLT"
	case 0xfa:
		return "CLI"
	case 0xfb:
		return "STI"
	case 0xff:
		switch i.Reg() {
		case 3:
			return "far CALL"
		case 5:
			return "far JMP"
		}
	}
	return ""
}

func (i Inst) forbidden0F() string {
	switch op := i.Opcode; op {
	case 0x00:
		return [8]string{"SLDT", "STR", "LLDT", "LTR", "", "", "", ""}[i.Reg()]
	case 0x01:
		return i.forbidden0F01()
	case 0x05:
		return "SYSCALL"
	case 0x06:
		return "CLTS"
	case 0x07:
		return "SYSRET"
	case 0x08:
		return "INVD"
	case 0x09:
		if i.Rep == 0 {
			return "WBINVD"
		}
	case 0x20, 0x21, 0x22, 0x23:
		return "MOV of a control or debug register"
	case 0x30:
		return "WRMSR"
	case 0x31:
		return "RDTSC"
	case 0x32:
		return "RDMSR"
	case 0x33:
		return "RDPMC"
	case 0x34:
		return "SYSENTER"
	case 0x35:
		return "SYSEXIT"
	case 0x37:
		return "GETSEC"
	case 0xa1:
		return "POP FS"
	case 0xa2:
		return "CPUID"
	case 0xa9:
		return "POP GS"
	case 0xaa:
		return "RSM"
	case 0xb2:
		return "LSS"
	case 0xb4:
		return "LFS"
	case 0xb5:
		return "LGS"
	case 0xae:
		// The kernel has its own data at GS.
		if i.Rep == 0xf3 && i.ModRM>>6 == 3 && i.Reg() == 3 {
			return "WRGSBASE"
		}
	}
	return ""
}

// forbidden0F01 is the group of 0F 01: with a memory operand by its middle
// field, else by the whole of ModRM.
func (i Inst) forbidden0F01() string {
	if i.ModRM>>6 != 3 {
		return [8]string{"SGDT", "SIDT", "LGDT", "LIDT", "SMSW", "", "LMSW", "INVLPG"}[i.Reg()]
	}
	switch i.ModRM {
	case 0xc1, 0xd9:
		return "VMCALL"
	case 0xc2, 0xc3, 0xc4:
		return "a VMX instruction"
	case 0xcf:
		return "ENCLS"
	case 0xd1:
		return "XSETBV"
	case 0xd4:
		return "VMFUNC"
	case 0xd7:
		return "ENCLU"
	case 0xf8:
		return "SWAPGS"
	case 0xf9:
		return "RDTSCP"
	}
	switch i.Reg() {
	case 4:
		return "SMSW"
	case 6:
		return "LMSW"
	}
	return ""
}
