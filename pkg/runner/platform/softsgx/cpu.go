//go:build linux && amd64

package softsgx

import (
	"math/bits"
	"sync"

	"github.com/enclaveos/eos/pkg/sgx"
)

func cpuid(leaf, sub uint32) (a, b, c, d uint32)

func xgetbv() uint64

func fxsaveMask() uint32

// cpu is what this processor can do. It is asked once, by New, before any
// thread has CPUID made to fault.
var cpu = sync.OnceValue(func() *cpuFeatures {
	f := probeCPU()
	return &f
})

type cpuFeatures struct {
	vendor    string
	sgx       bool // the processor has SGX,
	sgx1      bool // and the firmware enables it
	sgx2      bool
	epc       uint64 // bytes of enclave memory
	flc       bool   // launch control can be set by the system
	fsgsbase  bool
	rdrand    bool
	xsave     bool
	xfrm      sgx.XFRM // that enclaves may have
	xInUse    bool     // XGETBV with ECX = 1
	xcr0      uint64
	mxcsrMask uint32 // bits of MXCSR that exist
	area      [64]xsaveComponent
}

// xsaveComponent is the place of a state component in the standard form of an
// XSAVE area; zero for the two legacy ones and where there is none.
type xsaveComponent struct{ off, size uint32 }

// supportedXFRM is what of XCR0 is passed on to enclaves. AMX is not, because
// Linux has a process ask for it first.
const supportedXFRM = sgx.XFRMLegacy | sgx.XFRMAVX | sgx.XFRMAVX512

func probeCPU() (f cpuFeatures) {
	maxLeaf, b, c, d := cpuid(0, 0)
	for _, r := range []uint32{b, d, c} {
		f.vendor += string([]byte{byte(r), byte(r >> 8), byte(r >> 16), byte(r >> 24)})
	}
	_, _, c, _ = cpuid(1, 0)
	f.rdrand = c&(1<<30) != 0
	f.xsave = c&(1<<27) != 0 // OSXSAVE: by the processor and the system
	if maxLeaf >= 7 {
		_, b, c, _ = cpuid(7, 0)
		f.fsgsbase = b&1 != 0
		f.sgx = b&(1<<2) != 0
		f.flc = c&(1<<30) != 0
	}
	if f.sgx && maxLeaf >= 0x12 {
		f.probeSGX()
	}
	if f.mxcsrMask = fxsaveMask(); f.mxcsrMask == 0 {
		f.mxcsrMask = 0xffbf // SDM vol. 1, 11.6.6
	}
	if !f.xsave {
		return f
	}
	f.xcr0 = xgetbv()
	a, _, _, _ := cpuid(0xd, 1)
	f.xInUse = a&4 != 0
	f.xfrm = sgx.XFRM(f.xcr0) & supportedXFRM
	if f.xfrm&sgx.XFRMAVX512 != sgx.XFRMAVX512 {
		f.xfrm &^= sgx.XFRMAVX512
	}
	for i := 2; i < 63; i++ {
		if f.xcr0>>i&1 != 0 {
			a, b, _, _ := cpuid(0xd, uint32(i))
			f.area[i] = xsaveComponent{b, a}
		}
	}
	return f
}

// probeSGX reads leaf 12H: what is enabled, then one sub-leaf for each section
// of enclave memory.
func (f *cpuFeatures) probeSGX() {
	const leaf = 0x12
	a, _, _, _ := cpuid(leaf, 0)
	f.sgx1 = a&1 != 0
	f.sgx2 = a&2 != 0
	for sub := uint32(2); sub < 64; sub++ {
		a, _, c, d := cpuid(leaf, sub)
		if a&0xf == 0 {
			return
		}
		f.epc += uint64(c&0xfffff000) | uint64(d&0xfffff)<<32
	}
}

// xsaveSize returns the size in bytes of an XSAVE area with components x.
func (f *cpuFeatures) xsaveSize(x sgx.XFRM) uint32 {
	size := uint32(xsaveHeaderEnd)
	for m := uint64(x) >> 2 << 2; m != 0; m &= m - 1 {
		a := f.area[bits.TrailingZeros64(m)]
		size = max(size, a.off+a.size)
	}
	return size
}
