package issue

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
)

// OIDSGXExtensions is the extension of a PCK certificate that says which
// machine it is for ("Intel SGX PCK Certificate and Certificate Revocation List
// Profile Specification", 1.3.5).
var OIDSGXExtensions = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

// PCKExtensions is the content of OIDSGXExtensions; n below is the last number
// of each OID under it.
type PCKExtensions struct {
	PPID      [16]byte  // 1
	Component [16]uint8 // 2.1 to 2.16: SVN of each component of CPUSVN
	PCESVN    uint16    // 2.17
	CPUSVN    [16]byte  // 2.18
	PCEID     [2]byte   // 3
	FMSPC     [6]byte   // 4
	SGXType   int       // 5: 0 standard, 1 scalable
	Platform  *PCKPlatform
}

// PCKPlatform is what a certificate of the platform CA has and one of the
// processor CA has not.
type PCKPlatform struct {
	InstanceID                      [16]byte // 6
	Dynamic, CachedKeys, SMTEnabled bool     // 7.1 to 7.3
}

// Extension encodes e.
func (e *PCKExtensions) Extension() (pkix.Extension, error) {
	var tcb, all []asn1.RawValue
	var err error
	add := func(to *[]asn1.RawValue, value any, oid ...int) {
		var der []byte
		if err == nil {
			der, err = asn1.Marshal(struct {
				ID    asn1.ObjectIdentifier
				Value any
			}{slices.Concat(OIDSGXExtensions, oid), value})
		}
		*to = append(*to, asn1.RawValue{FullBytes: der})
	}
	for i, svn := range e.Component {
		add(&tcb, int(svn), 2, i+1)
	}
	add(&tcb, int(e.PCESVN), 2, 17)
	add(&tcb, e.CPUSVN[:], 2, 18)

	add(&all, e.PPID[:], 1)
	add(&all, tcb, 2)
	add(&all, e.PCEID[:], 3)
	add(&all, e.FMSPC[:], 4)
	add(&all, asn1.Enumerated(e.SGXType), 5)
	if p := e.Platform; p != nil {
		var configuration []asn1.RawValue
		add(&configuration, p.Dynamic, 7, 1)
		add(&configuration, p.CachedKeys, 7, 2)
		add(&configuration, p.SMTEnabled, 7, 3)
		add(&all, p.InstanceID[:], 6)
		add(&all, configuration, 7)
	}
	if err != nil {
		return pkix.Extension{}, err
	}
	der, err := asn1.Marshal(all)
	return pkix.Extension{Id: OIDSGXExtensions, Value: der}, err
}
