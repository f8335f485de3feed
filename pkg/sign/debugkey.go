package sign

import (
	"crypto/rsa"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"sync"

	"github.com/enclaveos/eos/pkg/sgx"
)

// publicDebugKeyPEM is a private key that everybody has: it is in this
// repository. A signature of it says nothing.
//
//go:embed public_debug_key.pem
var publicDebugKeyPEM []byte

var debugKey = sync.OnceValue(func() *rsa.PrivateKey {
	b, _ := pem.Decode(publicDebugKeyPEM)
	k, err := x509.ParsePKCS1PrivateKey(b.Bytes)
	if err != nil {
		panic("sign: embedded debug key: " + err.Error()) // our own file: a test reads it
	}
	return k
})

// DebugKey returns the key that eos signs with when there is no signature. Its
// private half is published with eos, so anybody can sign as it: data sealed
// to its MRSIGNER is open to every enclave, and it must never mark a
// production enclave. The caller must not change the key.
func DebugKey() *rsa.PrivateKey { return debugKey() }

// Dummy returns a SIGSTRUCT of DebugKey for an enclave of measurement mr:
// DEBUG and MODE64BIT set, the given XFRM, MISCSELECT 0, the masks of these
// full, DATE DefaultDate and the rest zero. CET_ATTRIBUTES_MASK is of the rest:
// a processor without CET has it reserved, so that it must be zero there. The
// same input gives the same bytes.
func Dummy(mr sgx.Measurement, xfrm sgx.XFRM) (*sgx.SigStruct, error) {
	s := UnsignedDummy(xfrm, 0)
	s.EnclaveHash = mr
	return s, Sign(s, DebugKey())
}

// UnsignedDummy is what Dummy signs, for an enclave that is yet to be measured, and
// with another MISCSELECT.
func UnsignedDummy(xfrm sgx.XFRM, misc sgx.MiscSelect) *sgx.SigStruct {
	return &sgx.SigStruct{
		MiscSelect:    misc,
		Date:          DefaultDate,
		MiscMask:      ^uint32(0),
		Attributes:    sgx.Attributes{Flags: sgx.AttrDebug | sgx.AttrMode64Bit, XFRM: xfrm},
		AttributeMask: sgx.Attributes{Flags: ^sgx.AttrFlags(0), XFRM: ^sgx.XFRM(0)},
	}
}
