package platformtest

import (
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

func testKey(t *testing.T, p platform.Platform) {
	subtests(t, p, []subtest{
		{"seal", testSealKey},
		{"debug and production", testSealDebug},
		{"codes", testKeyCodes},
		{"faults", testKeyFaults},
		{"provision", testProvision},
		{"KSS", testKSS},
	})
}

// all is a mask of everything.
var all = sgx.Attributes{Flags: ^sgx.AttrFlags(0), XFRM: ^sgx.XFRM(0)}

func sealRequest(policy sgx.KeyPolicy) *sgx.KeyRequest {
	return &sgx.KeyRequest{KeyName: sgx.KeySeal, KeyPolicy: policy, AttributeMask: all, MiscMask: ^uint32(0)}
}

// sealKeys starts im, gets the seal keys by MRENCLAVE and by MRSIGNER, and
// closes the enclave.
func sealKeys(t testing.TB, p platform.Platform, im *image) (byEnclave, bySigner [16]byte) {
	t.Helper()
	e := im.start(t, p)
	th, err := e.NewThread()
	must(t, err)
	a := &asker{e, th}
	byEnclave, bySigner = a.key(t, sealRequest(sgx.PolicyMREnclave)), a.key(t, sealRequest(sgx.PolicyMRSigner))
	th.Close()
	must(t, e.Close())
	return byEnclave, bySigner
}

// Seal keys come back after a new start and differ where they must.
func testSealKey(t *testing.T, p platform.Platform) {
	im := keyEnclave().production()
	enclave, signer := sealKeys(t, p, im)
	if enclave == signer {
		t.Error("the keys of both policies are the same")
	}
	if e, s := sealKeys(t, p, im); e != enclave || s != signer {
		t.Error("after a new start the keys are others")
	}
	key, err := otherKey()
	must(t, err)
	for _, v := range []struct {
		name                    string
		change                  func(*image)
		sameEnclave, sameSigner bool
	}{
		{"content", func(im *image) { im.page(offConst).data[100] = 1 }, false, true},
		{"signer", func(im *image) { im.key = key }, true, false},
		{"product", func(im *image) { im.sign = func(s *sgx.SigStruct) { s.ISVProdID = 99 } }, false, false},
		{"version", func(im *image) { im.sign = func(s *sgx.SigStruct) { s.ISVSVN = 99 } }, true, true},
		{"debug", func(im *image) { im.secs.Attributes.Flags |= sgx.AttrDebug }, false, false},
	} {
		im := keyEnclave().production()
		v.change(im)
		e, s := sealKeys(t, p, im)
		if (e == enclave) != v.sameEnclave || (s == signer) != v.sameSigner {
			t.Errorf("with another %s the key by MRENCLAVE is the same: %t, by MRSIGNER: %t; want %t, %t",
				v.name, e == enclave, s == signer, v.sameEnclave, v.sameSigner)
		}
	}
	// The request matters as well.
	a := startAsker(t, p, im)
	for name, change := range map[string]func(*sgx.KeyRequest){
		"KEYID":         func(k *sgx.KeyRequest) { k.KeyID[31] = 1 },
		"ISVSVN":        func(k *sgx.KeyRequest) { k.ISVSVN = 1 },
		"KEYPOLICY":     func(k *sgx.KeyRequest) { k.KeyPolicy = sgx.PolicyMREnclave | sgx.PolicyMRSigner },
		"no KEYPOLICY":  func(k *sgx.KeyRequest) { k.KeyPolicy = 0 },
		"ATTRIBUTEMASK": func(k *sgx.KeyRequest) { k.AttributeMask = sgx.Attributes{} },
		"MISCMASK":      func(k *sgx.KeyRequest) { k.MiscMask = 0 },
	} {
		kr := sealRequest(sgx.PolicyMREnclave)
		if a.key(t, kr) != enclave {
			t.Fatal("the key has changed")
		}
		change(kr)
		if a.key(t, kr) == enclave {
			t.Errorf("with another %s the key is the same", name)
		}
	}
}

// A debug enclave does not get a production enclave's keys even if it masks
// the attribute out.
func testSealDebug(t *testing.T, p platform.Platform) {
	kr := sealRequest(sgx.PolicyMRSigner)
	kr.AttributeMask = sgx.Attributes{}
	debug, production := startAsker(t, p, keyEnclave()), startAsker(t, p, keyEnclave().production())
	if debug.mr != production.mr {
		t.Fatal("the enclaves measure differently")
	}
	if debug.key(t, kr) == production.key(t, kr) {
		t.Error("a debug enclave has the key of the production enclave")
	}
}

func testKeyCodes(t *testing.T, p platform.Platform) {
	a := startAsker(t, p, keyEnclave())
	cpuSVN := a.report(t, a.self(), [64]byte{}).Body.CPUSVN
	for _, v := range []struct {
		name   string
		change func(*sgx.KeyRequest)
		code   sgx.ErrorCode
	}{
		{"current CPUSVN", func(k *sgx.KeyRequest) { k.CPUSVN = cpuSVN }, sgx.Success},
		{"CPUSVN to come", func(k *sgx.KeyRequest) {
			for i := range k.CPUSVN {
				k.CPUSVN[i] = 0xff
			}
		}, sgx.InvalidCPUSVN},
		{"own ISVSVN", func(k *sgx.KeyRequest) { k.ISVSVN = 2 }, sgx.Success},
		{"ISVSVN to come", func(k *sgx.KeyRequest) { k.ISVSVN = 3 }, sgx.InvalidISVSVN},
		{"EINITTOKEN", func(k *sgx.KeyRequest) { k.KeyName = sgx.KeyEInitToken }, sgx.InvalidAttribute},
		{"PROVISION", func(k *sgx.KeyRequest) { k.KeyName = sgx.KeyProvision }, sgx.InvalidAttribute},
		{"PROVISION_SEAL", func(k *sgx.KeyRequest) { k.KeyName = sgx.KeyProvisionSeal }, sgx.InvalidAttribute},
		{"REPORT", func(k *sgx.KeyRequest) { k.KeyName = sgx.KeyReport }, sgx.Success},
		{"REPORT with any SVN", func(k *sgx.KeyRequest) { k.KeyName, k.ISVSVN, k.CPUSVN = sgx.KeyReport, 0xffff, [16]byte{0xff} }, sgx.Success},
		{"name 5", func(k *sgx.KeyRequest) { k.KeyName = 5 }, sgx.InvalidKeyName},
		{"name 65535", func(k *sgx.KeyRequest) { k.KeyName = 0xffff }, sgx.InvalidKeyName},
	} {
		kr := sealRequest(sgx.PolicyMREnclave)
		v.change(kr)
		b, _ := kr.AppendBinary(nil)
		key, code, x := a.ask(t, b)
		if x.Kind != platform.ExitEEXIT || code != v.code {
			t.Errorf("%s: left by %s, %v; want %v", v.name, x, code, v.code)
		}
		_ = key // on an error the output is as it was
	}
}

func testKeyFaults(t *testing.T, p platform.Platform) {
	for name, change := range map[string]func([]byte){
		"reserved byte 7":         func(b []byte) { b[7] = 1 },
		"reserved byte 78":        func(b []byte) { b[78] = 1 },
		"reserved byte 511":       func(b []byte) { b[511] = 0x80 },
		"KEYPOLICY bit 6":         func(b []byte) { b[2] |= 0x40 },
		"KEYPOLICY bit 15":        func(b []byte) { b[3] |= 0x80 },
		"NOISVPRODID without KSS": func(b []byte) { b[2] |= byte(sgx.PolicyNoISVProdID) },
		"CONFIGID without KSS":    func(b []byte) { b[2] |= byte(sgx.PolicyConfigID) },
		"CONFIGSVN without KSS":   func(b []byte) { b[76] = 1 },
	} {
		e := keyEnclave().start(t, p)
		th, err := e.NewThread()
		must(t, err)
		b, _ := sealRequest(sgx.PolicyMRSigner).AppendBinary(nil)
		change(b)
		if _, code, x := (&asker{e, th}).ask(t, b); x.Kind != platform.ExitException || x.Vector != sgx.VectorGP {
			t.Errorf("%s: left by %s, %v; want #GP", name, x, code)
		}
		th.Close()
		must(t, e.Close())
	}
}

func testProvision(t *testing.T, p platform.Platform) {
	if p.Caps().Attributes&sgx.AttrProvisionKey == 0 {
		t.Log("this platform has no ATTRIBUTES.PROVISIONKEY")
		return
	}
	im := keyEnclave().production()
	im.secs.Attributes.Flags |= sgx.AttrProvisionKey
	a := startAsker(t, p, im)
	seen := map[[16]byte]sgx.KeyName{}
	for _, name := range []sgx.KeyName{sgx.KeyProvision, sgx.KeyProvisionSeal, sgx.KeySeal, sgx.KeyReport} {
		kr := sealRequest(0)
		kr.KeyName = name
		k := a.key(t, kr)
		if other, ok := seen[k]; ok {
			t.Errorf("keys %d and %d are the same", name, other)
		}
		seen[k] = name
		kr.KeyID[0] = 1
		// KEYID does not matter to the provisioning keys.
		if same := a.key(t, kr) == k; same != (name == sgx.KeyProvision || name == sgx.KeyProvisionSeal) {
			t.Errorf("key %d with another KEYID is the same: %t", name, same)
		}
	}
}

func testKSS(t *testing.T, p platform.Platform) {
	if p.Caps().Attributes&sgx.AttrKSS == 0 {
		t.Log("this platform has no ATTRIBUTES.KSS")
		return
	}
	kss := func(configID byte, prodID uint16, family, ext byte) *asker {
		im := keyEnclave().production()
		im.secs.Attributes.Flags |= sgx.AttrKSS
		im.secs.ConfigID[0], im.secs.ConfigSVN = configID, 5
		im.sign = func(s *sgx.SigStruct) {
			s.ISVProdID, s.ISVFamilyID[0], s.ISVExtProdID[0] = prodID, family, ext
		}
		return startAsker(t, p, im)
	}
	one := kss(1, 1, 1, 1)
	for _, v := range []struct {
		name   string
		other  *asker
		policy sgx.KeyPolicy // under which the other's key differs
	}{
		{"CONFIGID", kss(2, 1, 1, 1), sgx.PolicyConfigID},
		{"ISVFAMILYID", kss(1, 1, 2, 1), sgx.PolicyISVFamilyID},
		{"ISVEXTPRODID", kss(1, 1, 1, 2), sgx.PolicyISVExtProdID},
	} {
		for policy, same := range map[sgx.KeyPolicy]bool{0: true, v.policy: false} {
			kr := sealRequest(sgx.PolicyMRSigner | policy)
			if got := one.key(t, kr) == v.other.key(t, kr); got != same {
				t.Errorf("another %s, policy %#x: the same key: %t, want %t", v.name, uint16(policy), got, same)
			}
		}
	}
	product := kss(1, 2, 1, 1)
	for policy, same := range map[sgx.KeyPolicy]bool{0: false, sgx.PolicyNoISVProdID: true} {
		kr := sealRequest(sgx.PolicyMRSigner | policy)
		if got := one.key(t, kr) == product.key(t, kr); got != same {
			t.Errorf("another ISVPRODID, policy %#x: the same key: %t, want %t", uint16(policy), got, same)
		}
	}
	kr := sealRequest(sgx.PolicyMRSigner | sgx.PolicyConfigID)
	kr.ConfigSVN = 6
	b, _ := kr.AppendBinary(nil)
	if _, code, x := one.ask(t, b); x.Kind != platform.ExitEEXIT || code != sgx.InvalidISVSVN {
		t.Errorf("CONFIGSVN to come: left by %s, %v; want %v", x, code, sgx.InvalidISVSVN)
	}
	kr.ConfigSVN = 5
	five := one.key(t, kr)
	kr.ConfigSVN = 4
	if one.key(t, kr) == five {
		t.Error("CONFIGSVN does not matter")
	}
}
