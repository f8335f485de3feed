package microcode

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
)

func TestEInit(t *testing.T) {
	secs := testSECS()
	secs.Attributes.Flags |= sgx.AttrKSS | sgx.AttrDebug
	secs.ConfigID[5], secs.ConfigSVN = 5, 6
	e := build(t, secs, testTCS())
	sig := signature(t, e, func(s *sgx.SigStruct) {
		s.Attributes.Flags &^= sgx.AttrDebug // masked out: DEBUG is free
		s.ISVFamilyID[0], s.ISVExtProdID[1] = 8, 9
	})
	if err := e.Init(NewDevice([32]byte{}), sig); err != nil {
		t.Fatal(err)
	}
	want := *secs
	want.Attributes.Flags |= sgx.AttrInit
	want.MREnclave, want.MRSigner, want.ISVProdID, want.ISVSVN = sig.EnclaveHash, sig.MRSigner(), 7, 3
	if e.SECS() != want {
		t.Errorf("SECS is\n%+v, want\n%+v", e.SECS(), want)
	}
	if e.isvFamilyID != sig.ISVFamilyID || e.isvExtProdID != sig.ISVExtProdID {
		t.Error("KSS ids are not kept")
	}
}

func TestEInitRefuses(t *testing.T) {
	dev := NewDevice([32]byte{})
	cet := func(s *sgx.SECS) { s.Attributes.Flags |= sgx.AttrCET; s.CETAttributes = 4 }
	for _, v := range []struct {
		name   string
		secs   func(*sgx.SECS)
		signed func(*sgx.SigStruct) // before signing
		broken func(*sgx.SigStruct) // after
		code   sgx.ErrorCode
		what   string
	}{
		{"vendor", nil, nil, func(s *sgx.SigStruct) { s.Vendor = 1 }, sgx.InvalidSigStruct, "VENDOR"},
		{"exponent", nil, nil, func(s *sgx.SigStruct) { s.Exponent = 65537 }, sgx.InvalidSigStruct, "EXPONENT"},
		{"modulus", nil, nil, func(s *sgx.SigStruct) { s.Modulus[0] ^= 2 }, sgx.InvalidSignature, "SIGNATURE"},
		{"signature", nil, nil, func(s *sgx.SigStruct) { s.Signature[0] ^= 1 }, sgx.InvalidSignature, "SIGNATURE"},
		{"q1", nil, nil, func(s *sgx.SigStruct) { s.Q1[0] ^= 1 }, sgx.InvalidSignature, "Q1"},
		{"q2", nil, nil, func(s *sgx.SigStruct) { s.Q2[0] ^= 1 }, sgx.InvalidSignature, "Q2"},
		{"field not signed", nil, nil, func(s *sgx.SigStruct) { s.ISVSVN++ }, sgx.InvalidSignature, "SIGNATURE"},
		{"family without KSS", nil, func(s *sgx.SigStruct) { s.ISVFamilyID[3] = 1 }, nil, sgx.InvalidSigStruct, "ISVFAMILYID"},
		{"product without KSS", nil, func(s *sgx.SigStruct) { s.ISVExtProdID[3] = 1 }, nil, sgx.InvalidSigStruct, "ISVEXTPRODID"},
		{"hash", nil, func(s *sgx.SigStruct) { s.EnclaveHash = sgx.Measurement{0xab} }, nil, sgx.InvalidMeasurement, "ENCLAVEHASH is ab0000"},
		{"launch", func(s *sgx.SECS) { s.Attributes.Flags |= sgx.AttrEInitTokenKey }, nil, nil, sgx.InvalidAttribute, "EINITTOKENKEY"},
		{"attributes", nil, func(s *sgx.SigStruct) { s.Attributes.Flags |= sgx.AttrKSS }, nil, sgx.InvalidAttribute, "wants ATTRIBUTES MODE64BIT|KSS"},
		{"not debug", func(s *sgx.SECS) { s.Attributes.Flags |= sgx.AttrDebug }, func(s *sgx.SigStruct) {
			s.Attributes.Flags &^= sgx.AttrDebug
			s.AttributeMask.Flags = ^sgx.AttrFlags(0)
		}, nil, sgx.InvalidAttribute, "the enclave has DEBUG|MODE64BIT"},
		{"debug wanted", nil, func(s *sgx.SigStruct) {
			s.Attributes.Flags |= sgx.AttrDebug
			s.AttributeMask.Flags = ^sgx.AttrFlags(0)
		}, nil, sgx.InvalidAttribute, "wants ATTRIBUTES DEBUG|MODE64BIT"},
		{"xfrm missing", nil, func(s *sgx.SigStruct) { s.Attributes.XFRM |= sgx.XFRMAVX }, nil, sgx.InvalidAttribute, "X87|SSE|AVX, the enclave"},
		{"xfrm too much", func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMAVX }, func(s *sgx.SigStruct) { s.Attributes.XFRM &^= sgx.XFRMAVX }, nil, sgx.InvalidAttribute, "XFRM X87|SSE, the enclave"},
		{"misc", nil, func(s *sgx.SigStruct) { s.MiscSelect = sgx.MiscEXINFO }, nil, sgx.InvalidAttribute, "wants MISCSELECT EXINFO, the enclave has 0"},
		{"misc too much", func(s *sgx.SECS) { s.MiscSelect = sgx.MiscEXINFO }, func(s *sgx.SigStruct) { s.MiscSelect = 0 }, nil, sgx.InvalidAttribute, "the enclave has EXINFO"},
		{"CET", cet, func(s *sgx.SigStruct) { s.CETAttributes, s.CETAttributesMask = 8, 12 }, nil, sgx.InvalidAttribute, "wants CET_ATTRIBUTES 0x8, the enclave has 0x4"},
	} {
		secs := testSECS()
		if v.secs != nil {
			v.secs(secs)
		}
		e := build(t, secs, testTCS())
		sig := signature(t, e, v.signed)
		if v.broken != nil {
			v.broken(sig)
		}
		err := e.Init(dev, sig)
		var code sgx.ErrorCode
		if !errors.As(err, &code) || code != v.code || !strings.Contains(err.Error(), v.what) || !strings.HasPrefix(err.Error(), "EINIT: ") {
			t.Errorf("%s: error is %v, want %v and %q", v.name, err, v.code, v.what)
		}
		if e.SECS() != *secs {
			t.Errorf("%s: a refused EINIT changed the SECS", v.name)
		}
	}
}

// Masked-out fields are free, and a refused EINIT can be repeated.
func TestEInitMasks(t *testing.T) {
	secs := testSECS()
	secs.Attributes.Flags |= sgx.AttrCET
	secs.CETAttributes = 4
	secs.MiscSelect = sgx.MiscEXINFO
	e := build(t, secs, testTCS())
	free := func(s *sgx.SigStruct) {
		s.Attributes, s.AttributeMask = sgx.Attributes{Flags: sgx.AttrKSS, XFRM: sgx.XFRMAMX}, sgx.Attributes{}
		s.MiscSelect, s.MiscMask = 0, 0
		s.CETAttributes, s.CETAttributesMask = 3, 0
	}
	dev := NewDevice([32]byte{})
	if err := e.Init(dev, signature(t, e, func(s *sgx.SigStruct) { s.EnclaveHash[0] ^= 1 })); err == nil {
		t.Fatal("a wrong hash is accepted")
	}
	start(t, e, dev, free)
}

// Both hashes are in the text.
func TestEInitMeasurementText(t *testing.T) {
	e := build(t, testSECS(), testTCS())
	sig := signature(t, e, func(s *sgx.SigStruct) { s.EnclaveHash = sgx.Measurement{1, 2, 3} })
	err := e.Init(NewDevice([32]byte{}), sig)
	if err == nil || !strings.Contains(err.Error(), e.measure.sum().String()) || !strings.Contains(err.Error(), sig.EnclaveHash.String()) {
		t.Errorf("error is %v", err)
	}
}

func TestLaunchSigner(t *testing.T) {
	secs := testSECS()
	secs.Attributes.Flags |= sgx.AttrEInitTokenKey
	e := build(t, secs, testTCS())
	sig := signature(t, e, nil)
	dev := NewDevice([32]byte{})
	dev.LaunchSigner = sig.MRSigner()
	if err := e.Init(dev, sig); err != nil {
		t.Error(err)
	}
}

// Another signer is another MRSIGNER.
func TestMRSigner(t *testing.T) {
	key, err := sign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e, f := build(t, testSECS(), testTCS()), build(t, testSECS(), testTCS())
	sig := signature(t, e, nil)
	other := *sig
	if err := sign.Sign(&other, key); err != nil {
		t.Fatal(err)
	}
	dev := NewDevice([32]byte{})
	if err := errors.Join(e.Init(dev, sig), f.Init(dev, &other)); err != nil {
		t.Fatal(err)
	}
	if e.SECS().MREnclave != f.SECS().MREnclave || e.SECS().MRSigner == f.SECS().MRSigner {
		t.Error("identities are wrong")
	}
}
