package sgx

// GPRSGXSize is the size of the GPRSGX area in bytes.
const GPRSGXSize = 184

// GPRSGX is the register part of an SSA frame; it ends at the frame's last
// byte (SDM 38.9.1.1).
//
//	0   128  RAX RCX RDX RBX RSP RBP RSI RDI R8 ... R15
//	128   8  RFLAGS
//	136   8  RIP
//	144   8  URSP     the host's RSP
//	152   8  URBP     the host's RBP
//	160   4  EXITINFO
//	164   3  reserved
//	167   1  AEXNOTIFY
//	168   8  FSBASE
//	176   8  GSBASE
type GPRSGX struct {
	RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI uint64
	R8, R9, R10, R11, R12, R13, R14, R15   uint64
	RFLAGS, RIP, URSP, URBP                uint64
	ExitInfo                               ExitInfo
	AEXNotify                              uint8
	FSBase, GSBase                         uint64
}

func (g *GPRSGX) words() [20]*uint64 {
	return [20]*uint64{
		&g.RAX, &g.RCX, &g.RDX, &g.RBX, &g.RSP, &g.RBP, &g.RSI, &g.RDI,
		&g.R8, &g.R9, &g.R10, &g.R11, &g.R12, &g.R13, &g.R14, &g.R15,
		&g.RFLAGS, &g.RIP, &g.URSP, &g.URBP,
	}
}

var gprsgxLayout = layout{"GPRSGX", GPRSGXSize, [][2]int{{164, 3}}}

// ParseGPRSGX reads exactly GPRSGXSize bytes.
func ParseGPRSGX(b []byte) (*GPRSGX, error) {
	if err := gprsgxLayout.check(b); err != nil {
		return nil, err
	}
	g := new(GPRSGX)
	for i, w := range g.words() {
		*w = le.Uint64(b[8*i:])
	}
	g.ExitInfo = ExitInfo(le.Uint32(b[160:]))
	g.AEXNotify = b[167]
	g.FSBase = le.Uint64(b[168:])
	g.GSBase = le.Uint64(b[176:])
	return g, nil
}

// AppendBinary appends the GPRSGXSize bytes of g to dst. The error is always
// nil.
func (g *GPRSGX) AppendBinary(dst []byte) ([]byte, error) {
	dst, b := grow(dst, GPRSGXSize)
	for i, w := range g.words() {
		le.PutUint64(b[8*i:], *w)
	}
	le.PutUint32(b[160:], uint32(g.ExitInfo))
	b[167] = g.AEXNotify
	le.PutUint64(b[168:], g.FSBase)
	le.PutUint64(b[176:], g.GSBase)
	return dst, nil
}

// ExitInfo says why an AEX happened (SDM 38.9.1.2): vector in bits 7:0, type
// in bits 10:8, bit 31 set if both are valid. Interrupts, and exceptions that
// the architecture does not report, leave it zero.
type ExitInfo uint32

// The exit types.
const (
	ExitTypeHardware = 3 // a hardware exception
	ExitTypeSoftware = 6 // INT3 or INTO
)

// NewExitInfo returns the EXITINFO of an exception: #DE, #DB, #BP, #BR, #UD,
// #MF, #AC and #XM always, #GP, #PF and #CP only with the matching MISCSELECT
// bit, all other vectors never.
func NewExitInfo(vector uint8, misc MiscSelect) ExitInfo {
	typ := ExitInfo(ExitTypeHardware)
	switch vector {
	case VectorDE, VectorDB, VectorBR, VectorUD, VectorMF, VectorAC, VectorXM:
	case VectorBP:
		typ = ExitTypeSoftware
	case VectorGP, VectorPF:
		if misc&MiscEXINFO == 0 {
			return 0
		}
	case VectorCP:
		if misc&MiscCPINFO == 0 {
			return 0
		}
	default:
		return 0
	}
	return 1<<31 | typ<<8 | ExitInfo(vector)
}

// Valid reports whether Vector and Type mean anything.
func (e ExitInfo) Valid() bool { return e>>31 != 0 }

// Vector returns the exception's number.
func (e ExitInfo) Vector() uint8 { return uint8(e) }

// Type returns ExitTypeHardware or ExitTypeSoftware.
func (e ExitInfo) Type() uint8 { return uint8(e>>8) & 7 }

// EXINFOSize is the size of the EXINFO part of the MISC region: MADDR (8
// bytes), ERRCD (4), reserved (4). It lies directly below GPRSGX (SDM 38.9.2).
const EXINFOSize = 16

// Exception vectors (SDM vol. 3A 6.3.1).
const (
	VectorDE = 0  // divide error
	VectorDB = 1  // debug
	VectorBP = 3  // breakpoint
	VectorBR = 5  // bound range
	VectorUD = 6  // invalid opcode
	VectorNM = 7  // device not available
	VectorGP = 13 // general protection
	VectorPF = 14 // page fault
	VectorMF = 16 // x87 error
	VectorAC = 17 // alignment check
	VectorXM = 19 // SIMD error
	VectorCP = 21 // control protection
)

// VectorName returns the SDM's mnemonic, for example "#PF", or "" if the
// vector is none of the above.
func VectorName(v uint8) string {
	return map[uint8]string{
		VectorDE: "#DE", VectorDB: "#DB", VectorBP: "#BP", VectorBR: "#BR", VectorUD: "#UD", VectorNM: "#NM",
		VectorGP: "#GP", VectorPF: "#PF", VectorMF: "#MF", VectorAC: "#AC", VectorXM: "#XM", VectorCP: "#CP",
	}[v]
}
