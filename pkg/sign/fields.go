package sign

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/enclaveos/eos/pkg/sgx"
)

// New returns the fields, not yet signed, of a 64-bit enclave of measurement
// mr, with the defaults of sgxs-sign, so that output is the same:
//
//	ATTRIBUTES.FLAGS 0x4  mask ^0x2     64-bit; DEBUG as the loader wants
//	ATTRIBUTES.XFRM  0x3  mask ^0x3     x87 and SSE, nothing more
//	MISCSELECT       0    mask ^0
//
// DATE is DefaultDate, all else zero. A bit of a field counts only where the
// mask has it: EINIT wants SECS.FIELD & mask = SIGSTRUCT.FIELD & mask. So a
// debug launch of an enclave signed with these defaults is possible (it gets
// other keys, and its reports say DEBUG); ForbidDebug excludes it.
func New(mr sgx.Measurement) *sgx.SigStruct {
	return &sgx.SigStruct{
		Date:          DefaultDate,
		MiscMask:      ^uint32(0),
		Attributes:    sgx.Attributes{Flags: sgx.AttrMode64Bit, XFRM: sgx.XFRMLegacy},
		AttributeMask: sgx.Attributes{Flags: ^sgx.AttrDebug, XFRM: ^sgx.XFRMLegacy},
		EnclaveHash:   mr,
	}
}

// AllowDebug sets DEBUG and takes it out of the mask: the loader may start the
// enclave with a debugger or without.
func AllowDebug(s *sgx.SigStruct) {
	s.Attributes.Flags |= sgx.AttrDebug
	s.AttributeMask.Flags &^= sgx.AttrDebug
}

// ForbidDebug makes the processor refuse a debug launch.
func ForbidDebug(s *sgx.SigStruct) {
	s.Attributes.Flags &^= sgx.AttrDebug
	s.AttributeMask.Flags |= sgx.AttrDebug
}

// Require32Bit makes s the signature of a 32-bit enclave: MODE64BIT must be
// off.
func Require32Bit(s *sgx.SigStruct) {
	s.Attributes.Flags &^= sgx.AttrMode64Bit
	s.AttributeMask.Flags |= sgx.AttrMode64Bit
}

// RequireKSS lets the enclave start only with key separation and sharing on.
func RequireKSS(s *sgx.SigStruct) {
	s.Attributes.Flags |= sgx.AttrKSS
	s.AttributeMask.Flags |= sgx.AttrKSS
}

// SetISVExtProdID sets ISVEXTPRODID, which wants KSS.
func SetISVExtProdID(s *sgx.SigStruct, id [16]byte) {
	s.ISVExtProdID = id
	RequireKSS(s)
}

// SetISVFamilyID sets ISVFAMILYID, which wants KSS.
func SetISVFamilyID(s *sgx.SigStruct, id [16]byte) {
	s.ISVFamilyID = id
	RequireKSS(s)
}

// RequireXFRM lets the enclave start only where the features x are on.
func RequireXFRM(s *sgx.SigStruct, x sgx.XFRM) {
	s.Attributes.XFRM |= x
	s.AttributeMask.XFRM |= x
}

// AllowXFRM lets the loader choose whether the features x are on.
func AllowXFRM(s *sgx.SigStruct, x sgx.XFRM) { s.AttributeMask.XFRM &^= x }

// SetCET sets CET_ATTRIBUTES with its mask; a bit of the mask that is set must
// be the same in the enclave. Either not zero wants ATTRIBUTES.CET, since a
// processor without CET has both bytes reserved.
func SetCET(s *sgx.SigStruct, attributes, mask uint8) {
	s.CETAttributes, s.CETAttributesMask = attributes, mask
	if attributes|mask != 0 {
		s.Attributes.Flags |= sgx.AttrCET
		s.AttributeMask.Flags |= sgx.AttrCET
	}
}

// ParseID reads an ISVEXTPRODID or ISVFAMILYID: the 16 bytes as 32 hex digits
// in the order in which they are stored; dashes, as in a UUID, are skipped. Any
// other number is what ParseIDNumber reads.
func ParseID(s string) (id [16]byte, err error) {
	if h := strings.ReplaceAll(s, "-", ""); len(h) == 32 {
		if b, err := hex.DecodeString(h); err == nil {
			return [16]byte(b), nil
		}
	}
	if id, err = ParseIDNumber(s); err != nil {
		err = fmt.Errorf("id %q: want 32 hex digits, or a number of at most 128 bits", s)
	}
	return id, err
}

// ParseIDNumber reads an id as newer versions of sgxs-sign do: a number of at most 128 bits,
// decimal or 0x and hex digits, which is stored little-endian.
func ParseIDNumber(s string) (id [16]byte, err error) {
	n, err := parseBig(s, 128)
	if err != nil {
		return id, err
	}
	n.FillBytes(id[:])
	slices.Reverse(id[:])
	return id, nil
}

// Check reports fields that no processor starts an enclave with, or that say
// what cannot be meant. sgxs-sign signs these; eos sign does not.
func Check(s *sgx.SigStruct) error {
	want := s.Attributes.And(s.AttributeMask)
	switch {
	case s.Vendor != 0 && s.Vendor != sgx.VendorIntel:
		return fmt.Errorf("VENDOR is %#x: want 0, or %#x for Intel", s.Vendor, sgx.VendorIntel)
	case FormatDate(s.Date)[:2] == "0x":
		return fmt.Errorf("DATE is %s: want the digits of a day, as 0x20250102", FormatDate(s.Date))
	case want.Flags&sgx.AttrInit != 0:
		return fmt.Errorf("ATTRIBUTES require INIT, which the processor sets itself: no enclave starts so")
	case s.AttributeMask.XFRM&^s.Attributes.XFRM&sgx.XFRMLegacy != 0:
		return fmt.Errorf("XFRM %s forbids X87 or SSE, which every enclave has: add 0x3", s.Attributes.XFRM)
	case s.ISVExtProdID != [16]byte{} && want.Flags&sgx.AttrKSS == 0:
		return fmt.Errorf("ISVEXTPRODID wants KSS in ATTRIBUTES and in the mask")
	case s.ISVFamilyID != [16]byte{} && want.Flags&sgx.AttrKSS == 0:
		return fmt.Errorf("ISVFAMILYID wants KSS in ATTRIBUTES and in the mask")
	}
	return checkXFRM(want.XFRM, s.AttributeMask.XFRM)
}

// checkXFRM holds the rules of XCR0 (SDM vol. 1 13.3) on the features that
// must be on (on) against those that must be off (fixed and not on).
func checkXFRM(on, fixed sgx.XFRM) error {
	for _, r := range []struct{ bits, needs sgx.XFRM }{
		{sgx.XFRMAVX512, sgx.XFRMAVX512 | sgx.XFRMAVX},
		{sgx.XFRMBndRegs | sgx.XFRMBndCSR, sgx.XFRMBndRegs | sgx.XFRMBndCSR},
		{sgx.XFRMAMX, sgx.XFRMAMX},
	} {
		if off := r.needs & fixed &^ on; on&r.bits != 0 && off != 0 {
			return fmt.Errorf("XFRM requires %s but forbids %s: the processor wants both or neither", on&r.bits, off)
		}
	}
	return nil
}
