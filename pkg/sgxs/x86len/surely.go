package x86len

import "encoding/binary"

// Chains are started at each of the bytes from far to near before a site. They
// fall into step with the code within a few instructions, mostly; those from
// nearer than near often have not yet.
const (
	near = 24
	far  = 96
)

const (
	following = 4       // instructions after a site that have to be some
	misses    = 6       // one chain in as many may go over a site
	around    = 1 << 20 // bytes on each side in which a jump to a site is looked for
	align     = 16      // of functions
	pageSize  = 4096
)

// Surely reports whether the two bytes at code[at], 0F and an opcode without
// operands (CPUID, UD2, SYSCALL ...), with the prefixes that stand before them,
// are an instruction: not a part of a longer one, not data among code. It would
// rather say no than be wrong. code begins on a page, with an instruction or
// zeros, and is all that there is around the site.
//
// x86 code says nowhere where its instructions begin, but who starts to read it
// at a wrong place soon reads it right. So it is read from many places before
// the site: from code, nearly all come to the site; from data, most come to
// bytes that are no instruction, or over the site. What follows a RET or a jump
// may be data that reads like code, and what follows data may be code that
// cannot be read from there: then a jump or call has to lead to it. To look for
// one takes milliseconds, so that is done only while *searches is not zero, and
// counts it down.
//
// The limits come from the places of CPUID's bytes in 1400 programs and
// libraries: of 1144 CPUIDs it finds 1141, of 716 others none.
func Surely(code []byte, at int, searches *int) bool {
	if at < 0 || at+2 > len(code) || code[at] != 0x0f || !continues(code[at+2:]) {
		return false
	}
	start := at - far
	first := skipZeros(code[:at], max(0, start)&^(pageSize-1)) // of the page, or of all
	if first > start && (start <= 0 || first%align == 0) {
		if start = first; start > at-near {
			return reach(code, start, at) == hit
		}
	}
	var n [5]int
	for s := start; s <= at-near; s++ {
		if code[s] != 0 { // no instruction, or part of a number
			n[reach(code, s, at)]++
		}
		if n[miss]*misses > at-start { // mostly soon: a number in an instruction
			return false
		}
	}
	all := n[hit] + n[cold] + n[miss] + n[lost]
	switch {
	case n[miss]*misses > all:
		return false
	case n[hit]*2 >= all && n[hit] > n[cold]:
		return true
	}
	if *searches == 0 {
		return false
	}
	*searches--
	return isReached(code, at, (n[hit]+n[cold])*2 >= all)
}

// What becomes of a chain of instructions.
const (
	hit     = iota // the site is one of them
	cold           // so it is, but execution does not come there
	miss           // one goes over it
	lost           // it comes to bytes that are none, or to two that nobody would write
	unclear        // it comes to zeros, of a number perhaps
)

// reach reads instructions from start until it is at the site or behind it.
func reach(code []byte, start, at int) int {
	comes, strange := true, 0
	for start <= at {
		if z := skipZeros(code[:at], start); z >= start+4 { // no code is four zeros
			if z%align != 0 {
				if z < start+8 {
					return unclear
				}
				return lost
			}
			start, comes = z, false
			continue
		}
		i, ok := Decode(code[start:])
		if !ok {
			return lost
		}
		if i.strange(code[start:]) {
			if strange++; strange == 2 {
				return lost
			}
		}
		end := start + i.Len
		if end == at+2 && !i.Vector && !i.HasModRM && i.Map == Map0F && i.Opcode == code[at+1] {
			if comes {
				return hit
			}
			return cold
		}
		switch f, target := i.Flow(code[start:]); {
		case f != Next && start+target == at:
			return hit
		case f == Jump || f == Away || f == Stop:
			comes = false
		case !i.padding():
			comes = true
		}
		start = end
	}
	return miss
}

// skipZeros returns where the zeros from start on end.
func skipZeros(code []byte, start int) int {
	for start < len(code) && code[start] == 0 {
		start++
	}
	return start
}

// padding reports whether the instruction stands between functions.
func (i Inst) padding() bool {
	if i.Vector {
		return false
	}
	return i.Map == Map1 && (i.Opcode == 0x90 || i.Opcode == 0xcc) || i.Map == Map0F && i.Opcode == 0x1f
}

// continues reports whether code goes on with instructions, as far as it has to.
func continues(code []byte) bool {
	strange := 0
	for n := range following {
		if len(code) == 0 {
			return true
		}
		if skipZeros(code, 0) >= 4 {
			return n > 0 // the end of the code
		}
		i, ok := Decode(code)
		if !ok {
			return false
		}
		if i.strange(code) {
			if strange++; strange == 2 {
				return false
			}
		}
		if f, _ := i.Flow(code); f != Next && f != Branch {
			return true
		}
		code = code[i.Len:]
	}
	return true
}

// isReached reports whether a CALL or jump with a 32-bit displacement leads to the
// site, if that may be, or to a function before it that comes to the site.
func isReached(code []byte, at int, may bool) bool {
	lo, hi := max(1, at-around), min(len(code), at+around)-4
	for q := lo; q <= hi; q++ {
		target := q + 4 + int(int32(binary.LittleEndian.Uint32(code[q:])))
		if uint(at-target) >= far || target < 0 {
			continue
		}
		if op := code[q-1]; op != 0xe8 && op != 0xe9 && (op&0xf0 != 0x80 || q == 1 || code[q-2] != 0x0f) {
			continue
		}
		if target == at && may || target != at && target%align == 0 && reach(code, target, at) == hit {
			return true
		}
	}
	return false
}

// strange reports whether programs hardly ever have the instruction, though the
// bytes of data have it often.
func (i Inst) strange(code []byte) bool {
	if i.Vector || i.Map != Map1 {
		return false
	}
	if what := i.Forbidden(code); what != "" && what != "INT" {
		return true
	}
	switch i.Opcode {
	case 0x00, // ADD of bytes
		0xa0, 0xa1, 0xa2, 0xa3, // MOV with an address of 8 bytes
		0x9d,             // POPF
		0xc8,             // ENTER
		0xd7,             // XLAT
		0xe0, 0xe1, 0xe2, // LOOP
		0xfd: // STD
		return true
	case 0xc6, 0xc7: // MOV, or XABORT and XBEGIN, or nothing
		return i.Reg() != 0 && i.ModRM != 0xf8
	case 0xfe:
		return i.Reg() > 1
	}
	return false
}
