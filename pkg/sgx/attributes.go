package sgx

import (
	"encoding/binary"
	"fmt"
	"strings"
)

var le = binary.LittleEndian

// AttrFlags is the low half of ATTRIBUTES (SDM 38.7.1).
type AttrFlags uint64

// The bits of AttrFlags.
const (
	AttrInit          AttrFlags = 1 << 0  // set by EINIT
	AttrDebug         AttrFlags = 1 << 1  // debugger may read and write the enclave
	AttrMode64Bit     AttrFlags = 1 << 2  // runs in 64-bit mode
	AttrProvisionKey  AttrFlags = 1 << 4  // may get the provision key
	AttrEInitTokenKey AttrFlags = 1 << 5  // may get the EINIT token key
	AttrCET           AttrFlags = 1 << 6  // control-flow enforcement
	AttrKSS           AttrFlags = 1 << 7  // key separation and sharing
	AttrAEXNotify     AttrFlags = 1 << 10 // threads may ask to be told of AEXs
)

var attrNames = []struct {
	bit  AttrFlags
	name string
}{
	{AttrInit, "INIT"}, {AttrDebug, "DEBUG"}, {AttrMode64Bit, "MODE64BIT"}, {AttrProvisionKey, "PROVISIONKEY"},
	{AttrEInitTokenKey, "EINITTOKENKEY"}, {AttrCET, "CET"}, {AttrKSS, "KSS"}, {AttrAEXNotify, "AEXNOTIFY"},
}

// String returns the names joined by "|", unknown bits in hex; "0" if none.
func (f AttrFlags) String() string {
	var s []string
	for _, n := range attrNames {
		if f&n.bit != 0 {
			s = append(s, n.name)
			f &^= n.bit
		}
	}
	return joinNames(s, uint64(f))
}

// XFRM is the XSAVE-feature request mask, the high half of ATTRIBUTES
// (SDM 38.7.2). Its bits are those of XCR0.
type XFRM uint64

// The bits of XFRM.
const (
	XFRMX87      XFRM = 1 << 0
	XFRMSSE      XFRM = 1 << 1
	XFRMAVX      XFRM = 1 << 2
	XFRMBndRegs  XFRM = 1 << 3
	XFRMBndCSR   XFRM = 1 << 4
	XFRMOpmask   XFRM = 1 << 5
	XFRMZMMHi256 XFRM = 1 << 6
	XFRMHi16ZMM  XFRM = 1 << 7
	XFRMPKRU     XFRM = 1 << 9
	XFRMTileCfg  XFRM = 1 << 17
	XFRMTileData XFRM = 1 << 18
	XFRMLegacy        = XFRMX87 | XFRMSSE // must be set in every enclave
	XFRMAVX512        = XFRMOpmask | XFRMZMMHi256 | XFRMHi16ZMM
	XFRMAMX           = XFRMTileCfg | XFRMTileData
)

var xfrmNames = []struct {
	bits XFRM
	name string
}{
	{XFRMX87, "X87"}, {XFRMSSE, "SSE"}, {XFRMAVX, "AVX"}, {XFRMBndRegs, "BNDREGS"}, {XFRMBndCSR, "BNDCSR"},
	{XFRMAVX512, "AVX512"}, {XFRMOpmask, "OPMASK"}, {XFRMZMMHi256, "ZMM_HI256"}, {XFRMHi16ZMM, "HI16_ZMM"},
	{XFRMPKRU, "PKRU"}, {XFRMAMX, "AMX"}, {XFRMTileCfg, "TILECFG"}, {XFRMTileData, "TILEDATA"},
}

// String returns the names joined by "|", unknown bits in hex; "0" if none.
func (x XFRM) String() string {
	var s []string
	for _, n := range xfrmNames {
		if x&n.bits == n.bits {
			s = append(s, n.name)
			x &^= n.bits
		}
	}
	return joinNames(s, uint64(x))
}

// AttributesSize is the size of ATTRIBUTES in bytes.
const AttributesSize = 16

// Attributes is the ATTRIBUTES field of SECS, SIGSTRUCT and REPORT (SDM 38.7).
//
//	0   8  FLAGS
//	8   8  XFRM
type Attributes struct {
	Flags AttrFlags
	XFRM  XFRM
}

// String returns for example "DEBUG|MODE64BIT XFRM X87|SSE".
func (a Attributes) String() string { return a.Flags.String() + " XFRM " + a.XFRM.String() }

// And returns a with each bit cleared that is not set in mask.
func (a Attributes) And(mask Attributes) Attributes {
	return Attributes{a.Flags & mask.Flags, a.XFRM & mask.XFRM}
}

func (a Attributes) put(b []byte) {
	le.PutUint64(b, uint64(a.Flags))
	le.PutUint64(b[8:], uint64(a.XFRM))
}

func getAttributes(b []byte) Attributes {
	return Attributes{AttrFlags(le.Uint64(b)), XFRM(le.Uint64(b[8:]))}
}

// MiscSelect says which extra state an AEX saves in the SSA frame (SDM 38.7.3).
type MiscSelect uint32

// The bits of MiscSelect.
const (
	MiscEXINFO MiscSelect = 1 << 0 // address and error code of #PF and #GP
	MiscCPINFO MiscSelect = 1 << 1 // error code of #CP
)

// String returns the names joined by "|", unknown bits in hex; "0" if none.
func (m MiscSelect) String() string {
	var s []string
	if m&MiscEXINFO != 0 {
		s = append(s, "EXINFO")
	}
	if m&MiscCPINFO != 0 {
		s = append(s, "CPINFO")
	}
	return joinNames(s, uint64(m&^(MiscEXINFO|MiscCPINFO)))
}

// joinNames joins the names of bits and what is left of the number, in hex.
func joinNames(names []string, rest uint64) string {
	switch {
	case rest != 0:
		names = append(names, fmt.Sprintf("%#x", rest))
	case names == nil:
		return "0"
	}
	return strings.Join(names, "|")
}
