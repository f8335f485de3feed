// Package x86len tells how long x86-64 instructions are and what opcode they
// have. It knows the encodings, with VEX and EVEX, and not the meanings: enough
// to walk through code and to find instructions that an enclave may not have.
//
// Source: Intel SDM vol. 2, chapter 2 and appendix A. 64-bit mode only.
package x86len

// Map is a map of opcodes.
type Map uint8

// The maps of opcodes.
const (
	Map1    Map = iota // one byte
	Map0F              // 0F
	Map0F38            // 0F 38
	Map0F3A            // 0F 3A
	Map5               // of EVEX
	Map6               // of EVEX
)

// Inst is an instruction.
type Inst struct {
	Len      int  // bytes, 1 to 15
	Map      Map  // where Opcode is to be looked up
	Opcode   byte // its last byte
	HasModRM bool
	ModRM    byte
	Rep      byte // the last of the prefixes F2 and F3, 0 if there is none
	OpSize   bool // prefix 66
	Vector   bool // encoded with VEX or EVEX
}

// Reg returns the middle field of ModRM, which in some opcodes tells the
// instruction.
func (i Inst) Reg() byte { return i.ModRM >> 3 & 7 }

// MaxLen is the length of the longest instruction.
const MaxLen = 15

// What follows an opcode.
const (
	bad  = iota
	none // nothing
	m    // ModRM
	mb   // ModRM, imm8
	mz   // ModRM, imm32, or imm16 with prefix 66
	ib   // imm8
	iw   // imm16
	iz   // imm32, or imm16 with prefix 66
	id   // imm32 always
	iv   // imm32, imm16 with prefix 66, imm64 with REX.W
	ia   // an address of 8 bytes, 4 with prefix 67
	iwb  // imm16, imm8
	f6   // ModRM, imm8 if reg is 0 or 1
	f7   // ModRM, imm32 (imm16) if reg is 0 or 1
	pfx  // a prefix
	esc  // leads to another map or encoding
)

var map1 = [256]uint8{
	// 0    1    2    3    4    5    6    7    8    9    a    b    c    d    e    f
	m, m, m, m, ib, iz, bad, bad, m, m, m, m, ib, iz, bad, esc, // 00
	m, m, m, m, ib, iz, bad, bad, m, m, m, m, ib, iz, bad, bad, // 10
	m, m, m, m, ib, iz, pfx, bad, m, m, m, m, ib, iz, pfx, bad, // 20
	m, m, m, m, ib, iz, pfx, bad, m, m, m, m, ib, iz, pfx, bad, // 30
	pfx, pfx, pfx, pfx, pfx, pfx, pfx, pfx, pfx, pfx, pfx, pfx, pfx, pfx, pfx, pfx, // 40
	none, none, none, none, none, none, none, none, none, none, none, none, none, none, none, none, // 50
	bad, bad, esc, m, pfx, pfx, pfx, pfx, iz, mz, ib, mb, none, none, none, none, // 60
	ib, ib, ib, ib, ib, ib, ib, ib, ib, ib, ib, ib, ib, ib, ib, ib, // 70
	mb, mz, bad, mb, m, m, m, m, m, m, m, m, m, m, m, m, // 80
	none, none, none, none, none, none, none, none, none, none, bad, none, none, none, none, none, // 90
	ia, ia, ia, ia, none, none, none, none, ib, iz, none, none, none, none, none, none, // a0
	ib, ib, ib, ib, ib, ib, ib, ib, iv, iv, iv, iv, iv, iv, iv, iv, // b0
	mb, mb, iw, none, esc, esc, mb, mz, iwb, none, iw, none, none, ib, bad, none, // c0
	m, m, m, m, bad, bad, bad, none, m, m, m, m, m, m, m, m, // d0
	ib, ib, ib, ib, ib, ib, ib, ib, id, id, bad, ib, none, none, none, none, // e0
	pfx, none, pfx, pfx, none, none, f6, f7, none, none, none, none, none, none, m, m, // f0
}

var map0F = [256]uint8{
	m, m, m, m, bad, none, none, none, none, none, bad, none, bad, m, none, mb, // 00
	m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, // 10
	m, m, m, m, bad, bad, bad, bad, m, m, m, m, m, m, m, m, // 20
	none, none, none, none, none, none, bad, none, esc, bad, esc, bad, bad, bad, bad, bad, // 30
	m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, // 40
	m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, // 50
	m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, // 60
	mb, mb, mb, mb, m, m, m, none, m, m, bad, bad, m, m, m, m, // 70
	id, id, id, id, id, id, id, id, id, id, id, id, id, id, id, id, // 80
	m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, // 90
	none, none, none, m, mb, m, bad, bad, none, none, none, m, mb, m, m, m, // a0
	m, m, m, m, m, m, m, m, m, m, mb, m, m, m, m, m, // b0
	m, m, mb, m, mb, mb, mb, m, none, none, none, none, none, none, none, none, // c0
	m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, // d0
	m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, // e0
	m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, // f0
}

// Decode reads the instruction at the start of code. It fails if the bytes are
// none, or end too early.
func Decode(code []byte) (Inst, bool) {
	d := decoder{code: code[:min(len(code), MaxLen)]}
	if !d.decode() {
		return Inst{}, false
	}
	d.inst.Len = d.at
	return d.inst, true
}

type decoder struct {
	code         []byte
	at           int
	inst         Inst
	rexW, addr32 bool
}

func (d *decoder) next() (byte, bool) {
	if d.at == len(d.code) {
		return 0, false
	}
	d.at++
	return d.code[d.at-1], true
}

// skip passes n bytes.
func (d *decoder) skip(n int) bool {
	d.at += n
	return d.at <= len(d.code)
}

func (d *decoder) decode() bool {
	var op byte
	rex := false
	for {
		b, ok := d.next()
		if !ok {
			return false
		}
		if map1[b] != pfx {
			op = b
			break
		}
		switch {
		case b&0xf0 == 0x40:
			d.rexW, rex = b&8 != 0, true
			continue
		case b == 0x66:
			d.inst.OpSize = true
		case b == 0x67:
			d.addr32 = true
		case b == 0xf2 || b == 0xf3:
			d.inst.Rep = b
		}
		d.rexW, rex = false, false // REX counts only right before the opcode
	}
	switch op {
	case 0xc4, 0xc5, 0x62:
		return !rex && !d.inst.OpSize && d.inst.Rep == 0 && d.vector(op)
	case 0x0f:
		return d.map0F()
	}
	d.inst.Map, d.inst.Opcode = Map1, op
	if op == 0x8f && d.at < len(d.code) && d.code[d.at]&0x38 != 0 {
		return false // XOP of AMD
	}
	return d.operands(map1[op])
}

func (d *decoder) map0F() bool {
	op, ok := d.next()
	if !ok {
		return false
	}
	kind := map0F[op]
	d.inst.Map = Map0F
	if kind == esc {
		d.inst.Map, kind = Map0F38, m
		if op == 0x3a {
			d.inst.Map, kind = Map0F3A, mb
		}
		if op, ok = d.next(); !ok {
			return false
		}
	}
	d.inst.Opcode = op
	return d.operands(kind)
}

// vector reads an instruction whose first byte was one of VEX or EVEX.
//
//	C5 P0 opcode       P0: bits 0-1 pp
//	C4 P0 P1 opcode    P0: bits 0-4 map;  P1: bits 0-1 pp
//	62 P0 P1 P2 opcode P0: bits 0-2 map;  P1: bits 0-1 pp
func (d *decoder) vector(lead byte) bool {
	p0, ok := d.next()
	if !ok {
		return false
	}
	mm := byte(1)
	switch lead {
	case 0xc4:
		mm = p0 & 31
		if !d.skip(1) {
			return false
		}
	case 0x62:
		mm = p0 & 7
		if p0&8 != 0 || !d.skip(2) || d.code[d.at-2]&4 == 0 {
			return false
		}
	}
	op, ok := d.next()
	if !ok {
		return false
	}
	d.inst.Opcode, d.inst.Vector = op, true
	kind := uint8(m)
	switch mm {
	case 1:
		d.inst.Map = Map0F
		switch {
		case op == 0x77 && lead != 0x62:
			kind = none
		case op >= 0x70 && op <= 0x73, op == 0xc2, op >= 0xc4 && op <= 0xc6:
			kind = mb
		}
	case 2:
		d.inst.Map = Map0F38
	case 3:
		d.inst.Map, kind = Map0F3A, mb
	case 5, 6:
		if lead != 0x62 {
			return false
		}
		d.inst.Map = Map5 + Map(mm-5)
	default:
		return false
	}
	return d.operands(kind)
}

// operands passes what follows the opcode.
func (d *decoder) operands(kind uint8) bool {
	immZ := 4
	if d.inst.OpSize && !d.rexW {
		immZ = 2
	}
	switch kind {
	case none:
		return true
	case m:
		return d.modRM()
	case mb:
		return d.modRM() && d.skip(1)
	case mz:
		return d.modRM() && d.skip(immZ)
	case f6, f7:
		if !d.modRM() {
			return false
		}
		switch {
		case d.inst.Reg() > 1:
			return true
		case kind == f6:
			return d.skip(1)
		}
		return d.skip(immZ)
	case ib:
		return d.skip(1)
	case iw:
		return d.skip(2)
	case iwb:
		return d.skip(3)
	case iz:
		return d.skip(immZ)
	case id:
		return d.skip(4)
	case iv:
		if d.rexW {
			immZ = 8
		}
		return d.skip(immZ)
	case ia:
		if d.addr32 {
			return d.skip(4)
		}
		return d.skip(8)
	}
	return false
}

// modRM passes ModRM, SIB and displacement.
func (d *decoder) modRM() bool {
	b, ok := d.next()
	if !ok {
		return false
	}
	d.inst.HasModRM, d.inst.ModRM = true, b
	// MOV to and from control and debug registers: memory forms do not exist.
	if d.inst.Map == Map0F && !d.inst.Vector && d.inst.Opcode >= 0x20 && d.inst.Opcode <= 0x23 {
		return true
	}
	mod, rm := b>>6, b&7
	if mod == 3 {
		return true
	}
	if rm == 4 {
		sib, ok := d.next()
		if !ok {
			return false
		}
		if mod == 0 && sib&7 == 5 {
			return d.skip(4)
		}
	} else if mod == 0 && rm == 5 {
		return d.skip(4)
	}
	switch mod {
	case 1:
		return d.skip(1)
	case 2:
		return d.skip(4)
	}
	return true
}

// Flow is where execution goes after an instruction.
type Flow uint8

// The kinds of Flow.
const (
	Next   Flow = iota // to the instruction that follows
	Branch             // there, or to the target
	Jump               // to the target
	Away               // to a place that the instruction does not tell
	Stop               // nowhere: back to the caller, or into a fault
)

// Flow returns where execution goes after the instruction, which is at the
// start of code. target is relative to that start, for Branch and Jump. Calls
// come back.
func (i Inst) Flow(code []byte) (f Flow, target int) {
	if i.Vector {
		return Next, 0
	}
	near := func(f Flow) (Flow, int) { return f, i.Len + int(int8(code[i.Len-1])) }
	far := func(f Flow) (Flow, int) {
		b := code[i.Len-4 : i.Len]
		return f, i.Len + int(int32(uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24))
	}
	op := i.Opcode
	switch {
	case i.Map == Map0F && op&0xf0 == 0x80:
		return far(Branch)
	case i.Map == Map0F && (op == 0x0b || op == 0xb9 || op == 0xff):
		return Stop, 0
	case i.Map != Map1:
		return Next, 0
	case op&0xf0 == 0x70, op >= 0xe0 && op <= 0xe3:
		return near(Branch)
	case op == 0xeb:
		return near(Jump)
	case op == 0xe9:
		return far(Jump)
	case op == 0xc2 || op == 0xc3:
		return Stop, 0
	case op == 0xff && i.Reg()&6 == 4:
		return Away, 0
	}
	return Next, 0
}
