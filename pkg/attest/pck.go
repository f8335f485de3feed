package attest

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
)

// OIDSGXExtension is the extension of a PCK certificate that describes the
// platform.
var OIDSGXExtension = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

// sgxArc is the DER value of OIDSGXExtension, which all names in it extend.
var sgxArc = []byte{0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01}

// Entries of the extension: the last arc of their OIDs.
const (
	pckPPID = iota + 1
	pckTCB
	pckPCEID
	pckFMSPC
	pckSGXType
	pckPlatformInstanceID
	pckConfiguration

	pckPCESVN = 17 // within TCB, behind the 16 components
	pckCPUSVN = 18
)

// PCKExtensions are the facts in the SGX extension of a PCK certificate
// (Intel, "SGX PCK Certificate and Certificate Revocation List Profile").
type PCKExtensions struct {
	PPID    [16]byte
	TCB     [16]uint8 // component SVNs
	PCESVN  uint16
	CPUSVN  [16]byte
	PCEID   [2]byte
	FMSPC   [6]byte
	SGXType uint8 // 0 standard, 1 scalable, 2 scalable with integrity

	// Of certificates by the platform CA only.
	PlatformInstanceID *[16]byte
	Configuration      *PCKConfiguration
}

// PCKConfiguration says how a multi-package platform is set up.
type PCKConfiguration struct {
	DynamicPlatform, CachedKeys, SMTEnabled *bool // nil: not said
}

// ParsePCKExtensions reads the value of the extension. Each entry may come
// once, entries that are not known are passed over.
func ParsePCKExtensions(b []byte) (*PCKExtensions, error) {
	var e PCKExtensions
	fixed := func(dst []byte) func(byte, []byte) error {
		return func(tag byte, v []byte) error {
			if tag != derOctetString || len(v) != len(dst) {
				return fmt.Errorf("want an OCTET STRING of %d bytes", len(dst))
			}
			copy(dst, v)
			return nil
		}
	}
	seen, err := sgxEntries(b, nil, func(id byte) func(byte, []byte) error {
		switch id {
		case pckPPID:
			return fixed(e.PPID[:])
		case pckTCB:
			return e.parseTCB
		case pckPCEID:
			return fixed(e.PCEID[:])
		case pckFMSPC:
			return fixed(e.FMSPC[:])
		case pckSGXType:
			return func(tag byte, v []byte) error {
				n, err := derUint(v, 2)
				if tag != derEnumerated || err != nil {
					return fmt.Errorf("want an ENUMERATED of 0 to 2")
				}
				e.SGXType = uint8(n)
				return nil
			}
		case pckPlatformInstanceID:
			e.PlatformInstanceID = new([16]byte)
			return fixed(e.PlatformInstanceID[:])
		case pckConfiguration:
			return e.parseConfiguration
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("SGX extension: %w", err)
	}
	for id := pckPPID; id <= pckSGXType; id++ {
		if seen&(1<<id) == 0 {
			return nil, fmt.Errorf("SGX extension: entry %v.%d is missing", OIDSGXExtension, id)
		}
	}
	return &e, nil
}

func (e *PCKExtensions) parseTCB(tag byte, b []byte) error {
	seen, err := sgxEntries(derTLV(nil, tag, b), []byte{pckTCB}, func(id byte) func(byte, []byte) error {
		switch {
		case id >= 1 && id <= 16:
			return func(tag byte, v []byte) error {
				n, err := derUint(v, 0xff)
				if tag != derInteger || err != nil {
					return fmt.Errorf("want an INTEGER of 0 to 255")
				}
				e.TCB[id-1] = uint8(n)
				return nil
			}
		case id == pckPCESVN:
			return func(tag byte, v []byte) error {
				n, err := derUint(v, 0xffff)
				if tag != derInteger || err != nil {
					return fmt.Errorf("want an INTEGER of 0 to 65535")
				}
				e.PCESVN = uint16(n)
				return nil
			}
		case id == pckCPUSVN:
			return func(tag byte, v []byte) error {
				if tag != derOctetString || len(v) != 16 {
					return fmt.Errorf("want an OCTET STRING of 16 bytes")
				}
				e.CPUSVN = [16]byte(v)
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id := 1; id <= pckCPUSVN; id++ {
		if seen&(1<<id) == 0 {
			return fmt.Errorf("entry %v.2.%d is missing", OIDSGXExtension, id)
		}
	}
	return nil
}

func (e *PCKExtensions) parseConfiguration(tag byte, b []byte) error {
	e.Configuration = &PCKConfiguration{}
	_, err := sgxEntries(derTLV(nil, tag, b), []byte{pckConfiguration}, func(id byte) func(byte, []byte) error {
		p := e.Configuration.entry(id)
		if p == nil {
			return nil
		}
		return func(tag byte, v []byte) error {
			if tag != derBoolean || len(v) != 1 || v[0] != 0 && v[0] != 0xff {
				return fmt.Errorf("want a BOOLEAN")
			}
			val := v[0] != 0
			*p = &val
			return nil
		}
	})
	return err
}

func (c *PCKConfiguration) entry(id byte) **bool {
	switch id {
	case 1:
		return &c.DynamicPlatform
	case 2:
		return &c.CachedKeys
	case 3:
		return &c.SMTEnabled
	}
	return nil
}

// sgxEntries reads SEQUENCE { SEQUENCE { OID, value } ... } in which each OID
// is sgxArc, then prefix, then one arc below 32, and gives the values to what
// entry returns for that arc (nil: not known). It returns the arcs seen.
func sgxEntries(b, prefix []byte, entry func(id byte) func(tag byte, value []byte) error) (seen uint64, err error) {
	tag, list, rest, err := derNext(b)
	if err != nil || tag != derSequence || len(rest) != 0 {
		return 0, errDER
	}
	for len(list) > 0 {
		var pair, oid, value []byte
		if tag, pair, list, err = derNext(list); err != nil || tag != derSequence {
			return 0, errDER
		}
		if tag, oid, pair, err = derNext(pair); err != nil || tag != derOID {
			return 0, errDER
		}
		if tag, value, pair, err = derNext(pair); err != nil || len(pair) != 0 {
			return 0, errDER
		}
		last, ok := bytes.CutPrefix(oid, sgxArc)
		if ok {
			last, ok = bytes.CutPrefix(last, prefix)
		}
		if !ok || len(last) != 1 || last[0] == 0 || last[0] >= 32 {
			continue
		}
		id := last[0]
		read := entry(id)
		if read == nil {
			continue
		}
		if seen&(1<<id) != 0 {
			return 0, fmt.Errorf("entry %d twice", id)
		}
		seen |= 1 << id
		if err := read(tag, value); err != nil {
			return 0, fmt.Errorf("entry %d: %w", id, err)
		}
	}
	return seen, nil
}

// AppendBinary appends the DER value of the extension to dst. The error is
// always nil.
func (e *PCKExtensions) AppendBinary(dst []byte) ([]byte, error) {
	pair := func(dst []byte, prefix []byte, id, tag byte, value []byte) []byte {
		oid := append(append(append([]byte(nil), sgxArc...), prefix...), id)
		return derTLV(dst, derSequence, derTLV(derTLV(nil, derOID, oid), tag, value))
	}
	var tcb []byte
	for i, n := range e.TCB {
		tcb = pair(tcb, []byte{pckTCB}, byte(i+1), derInteger, derUintBytes(int(n)))
	}
	tcb = pair(tcb, []byte{pckTCB}, pckPCESVN, derInteger, derUintBytes(int(e.PCESVN)))
	tcb = pair(tcb, []byte{pckTCB}, pckCPUSVN, derOctetString, e.CPUSVN[:])

	var b []byte
	b = pair(b, nil, pckPPID, derOctetString, e.PPID[:])
	b = pair(b, nil, pckTCB, derSequence, tcb)
	b = pair(b, nil, pckPCEID, derOctetString, e.PCEID[:])
	b = pair(b, nil, pckFMSPC, derOctetString, e.FMSPC[:])
	b = pair(b, nil, pckSGXType, derEnumerated, derUintBytes(int(e.SGXType)))
	if e.PlatformInstanceID != nil {
		b = pair(b, nil, pckPlatformInstanceID, derOctetString, e.PlatformInstanceID[:])
	}
	if c := e.Configuration; c != nil {
		var conf []byte
		for id := byte(1); id <= 3; id++ {
			if v := *c.entry(id); v != nil {
				bit := byte(0)
				if *v {
					bit = 0xff
				}
				conf = pair(conf, []byte{pckConfiguration}, id, derBoolean, []byte{bit})
			}
		}
		b = pair(b, nil, pckConfiguration, derSequence, conf)
	}
	return derTLV(dst, derSequence, b), nil
}

// clone returns a copy: what a verifier remembers is not for callers to change.
func (e *PCKExtensions) clone() *PCKExtensions {
	c := *e
	if e.PlatformInstanceID != nil {
		id := *e.PlatformInstanceID
		c.PlatformInstanceID = &id
	}
	if e.Configuration != nil {
		c.Configuration = &PCKConfiguration{}
		for id := byte(1); id <= 3; id++ {
			if v := *e.Configuration.entry(id); v != nil {
				bit := *v
				*c.Configuration.entry(id) = &bit
			}
		}
	}
	return &c
}

// pckExtensions finds the extension in a certificate.
func pckExtensions(cert *x509.Certificate) (*PCKExtensions, error) {
	for _, x := range cert.Extensions { // x509 refuses one that comes twice
		if x.Id.Equal(OIDSGXExtension) {
			return ParsePCKExtensions(x.Value)
		}
	}
	return nil, fmt.Errorf("no SGX extension %v", OIDSGXExtension)
}
