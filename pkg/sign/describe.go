package sign

import (
	"encoding/hex"
	"fmt"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Description is a SIGSTRUCT in words, for people and for JSON. Numbers that
// are sets of bits are in hex, with the names of their bits beside them.
type Description struct {
	EnclaveHash   sgx.Measurement `json:"enclavehash"`
	MRSigner      sgx.Measurement `json:"mrsigner"`
	Signature     string          `json:"signature"` // "valid" or what Verify says
	Signer        string          `json:"signer,omitempty"`
	Vendor        string          `json:"vendor"`
	Date          string          `json:"date"`
	SWDefined     string          `json:"swdefined"`
	ISVProdID     uint16          `json:"isvprodid"`
	ISVSVN        uint16          `json:"isvsvn"`
	ISVExtProdID  string          `json:"isvextprodid"`
	ISVFamilyID   string          `json:"isvfamilyid"`
	Attributes    Bits            `json:"attributes"`
	XFRM          Bits            `json:"xfrm"`
	MiscSelect    Bits            `json:"miscselect"`
	CETAttributes Bits            `json:"cet_attributes"`
	DebugAllowed  bool            `json:"debug_allowed"` // the loader may start it as a debug enclave
}

// Bits is a field with a mask. A bit that is not in the mask is the loader's
// choice.
type Bits struct {
	Value string `json:"value"` // hex
	Mask  string `json:"mask"`  // hex, as stored: not inverted
	On    string `json:"on"`    // names that must be set
	May   string `json:"may"`   // names that may be set, "0" if none; unknown bits are left out
}

// Field is a line of a Description.
type Field struct{ Name, Value, Note string }

// Describe says what s holds and whether its signature is valid.
func Describe(s *sgx.SigStruct) Description {
	d := Description{
		EnclaveHash:  s.EnclaveHash,
		MRSigner:     s.MRSigner(),
		Signature:    "valid",
		Vendor:       fmt.Sprintf("%#x", s.Vendor),
		Date:         FormatDate(s.Date),
		SWDefined:    fmt.Sprintf("%#x", s.SWDefined),
		ISVProdID:    s.ISVProdID,
		ISVSVN:       s.ISVSVN,
		ISVExtProdID: hex.EncodeToString(s.ISVExtProdID[:]),
		ISVFamilyID:  hex.EncodeToString(s.ISVFamilyID[:]),
		Attributes:   describe(uint64(s.Attributes.Flags), uint64(s.AttributeMask.Flags), 64, flagWords, func(v uint64) string { return sgx.AttrFlags(v).String() }),
		XFRM:         describe(uint64(s.Attributes.XFRM), uint64(s.AttributeMask.XFRM), 64, xfrmWords, func(v uint64) string { return sgx.XFRM(v).String() }),
		MiscSelect:   describe(uint64(s.MiscSelect), uint64(s.MiscMask), 32, miscWords, func(v uint64) string { return sgx.MiscSelect(v).String() }),
		CETAttributes: describe(uint64(s.CETAttributes), uint64(s.CETAttributesMask), 8, cetWords,
			func(v uint64) string { return formatCET(uint8(v)) }),
		DebugAllowed: s.AttributeMask.Flags&sgx.AttrDebug == 0 || s.Attributes.Flags&sgx.AttrDebug != 0,
	}
	if err := Verify(s); err != nil {
		d.Signature = err.Error()
	}
	if mr, err := MRSigner(&DebugKey().PublicKey); err == nil && mr == d.MRSigner {
		d.Signer = "the public debug key of eos: it identifies nobody"
	}
	return d
}

func describe(value, mask uint64, bits int, words []name, format func(uint64) string) Bits {
	var known uint64
	for _, n := range words {
		known |= n.bits
	}
	return Bits{
		Value: fmt.Sprintf("%#x", value),
		Mask:  fmt.Sprintf("0x%0*x", bits/4, mask),
		On:    format(value & mask),
		May:   format(known &^ mask),
	}
}

// Fields returns the lines of d in the order of the SDM, the most wanted
// first.
func (d Description) Fields() []Field {
	bits := func(name string, b Bits) Field {
		note := b.On
		if b.May != "0" && b.May != "0x0" {
			note += "; the loader chooses " + b.May
		}
		return Field{name, b.Value + " mask " + b.Mask, note}
	}
	debug := "a debug launch is refused"
	if d.DebugAllowed {
		debug = "a debug launch is possible"
	}
	attributes := bits("ATTRIBUTES", d.Attributes)
	attributes.Note += "; " + debug
	return []Field{
		{"ENCLAVEHASH", d.EnclaveHash.String(), ""},
		{"MRSIGNER", d.MRSigner.String(), d.Signer},
		{"SIGNATURE", d.Signature, ""},
		{"VENDOR", d.Vendor, ""},
		{"DATE", d.Date, ""},
		{"SWDEFINED", d.SWDefined, ""},
		{"ISVPRODID", fmt.Sprint(d.ISVProdID), ""},
		{"ISVSVN", fmt.Sprint(d.ISVSVN), ""},
		{"ISVEXTPRODID", d.ISVExtProdID, ""},
		{"ISVFAMILYID", d.ISVFamilyID, ""},
		attributes,
		bits("XFRM", d.XFRM),
		bits("MISCSELECT", d.MiscSelect),
		bits("CET_ATTRIBUTES", d.CETAttributes),
	}
}
