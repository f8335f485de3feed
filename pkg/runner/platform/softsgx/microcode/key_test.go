package microcode

import (
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgx/cmac"
)

// asker is all that EGETKEY can look at.
type asker struct {
	dev deviceFile
	e   Enclave
	kr  sgx.KeyRequest
}

// newAsker returns an initialised enclave with every field set, on a device
// of an advanced CPUSVN, and a request for name with every mask and policy.
func newAsker(name sgx.KeyName) *asker {
	a := &asker{
		dev: deviceFile{seed: [SeedSize]byte{9}, cpuSVN: [16]byte{3, 3}, ownerEpoch: [16]byte{4}},
		e: Enclave{
			secs: sgx.SECS{
				Size: testSize, SSAFrameSize: 1, MiscSelect: sgx.MiscEXINFO, CETAttributes: 4,
				Attributes: sgx.Attributes{
					Flags: sgx.AttrInit | sgx.AttrMode64Bit | sgx.AttrProvisionKey | sgx.AttrEInitTokenKey | sgx.AttrKSS,
					XFRM:  sgx.XFRMLegacy,
				},
				MREnclave: sgx.Measurement{1}, MRSigner: sgx.Measurement{2}, ConfigID: [64]byte{3},
				ISVProdID: 4, ISVSVN: 50, ConfigSVN: 60,
			},
			isvFamilyID: [16]byte{7}, isvExtProdID: [16]byte{8},
		},
		kr: sgx.KeyRequest{
			KeyName: name, KeyPolicy: sgx.PolicyKnown &^ sgx.PolicyNoISVProdID, ISVSVN: 5, ConfigSVN: 6,
			CETAttributesMask: 0xff, CPUSVN: [16]byte{2, 2},
			AttributeMask: sgx.Attributes{Flags: ^sgx.AttrFlags(0), XFRM: ^sgx.XFRM(0)},
			KeyID:         [32]byte{1}, MiscMask: ^uint32(0),
		},
	}
	return a
}

func (a *asker) ask() ([16]byte, sgx.ErrorCode, *Fault) {
	b, _ := a.kr.AppendBinary(nil)
	return EGetKey(newDevice(&a.dev), &a.e, b)
}

func (a *asker) key(t *testing.T, what string) [16]byte {
	t.Helper()
	k, code, f := a.ask()
	if code != sgx.Success || f != nil || k == [16]byte{} {
		t.Fatalf("%s: key %x, %v, %v", what, k, code, f)
	}
	return k
}

var allKeys = []sgx.KeyName{sgx.KeyEInitToken, sgx.KeyProvision, sgx.KeyProvisionSeal, sgx.KeyReport, sgx.KeySeal}

// TestKeyDependencies changes one input at a time and wants another key where
// the SDM has the input in KEYDEPENDENCIES, and the same key where it has not.
// The columns are those of allKeys; an upper-case letter is "matters".
func TestKeyDependencies(t *testing.T) {
	noPolicy := func(f func(*asker)) func(*asker) {
		return func(a *asker) { a.kr.KeyPolicy = 0; f(a) }
	}
	noMask := func(f func(*asker)) func(*asker) {
		return func(a *asker) {
			a.kr.AttributeMask, a.kr.MiscMask, a.kr.CETAttributesMask = sgx.Attributes{}, 0, 0
			f(a)
		}
	}
	same := func(*asker) {}
	for _, v := range []struct {
		name    string
		base    func(*asker) // the request that is changed
		change  func(*asker)
		matters string // E EINITTOKEN, P PROVISION, Q PROVISION_SEAL, R REPORT, S SEAL
	}{
		{"seed", same, func(a *asker) { a.dev.seed[31]++ }, "EPQRS"},
		{"owner epoch", same, func(a *asker) { a.dev.ownerEpoch[15]++ }, "ERS"},
		{"device CPUSVN", same, func(a *asker) { a.dev.cpuSVN[15]++ }, "R"},
		{"ISVPRODID", same, func(a *asker) { a.e.secs.ISVProdID++ }, "EPQS"},
		{"ISVPRODID by policy", noPolicy(func(a *asker) { a.kr.KeyPolicy = sgx.PolicyNoISVProdID }), func(a *asker) { a.e.secs.ISVProdID++ }, "EP"},
		{"enclave ISVSVN", same, func(a *asker) { a.e.secs.ISVSVN++ }, ""},
		{"requested ISVSVN", same, func(a *asker) { a.kr.ISVSVN++ }, "EPQS"},
		{"CONFIGID", same, func(a *asker) { a.e.secs.ConfigID[63]++ }, "QRS"},
		{"CONFIGID by policy", noPolicy(same), func(a *asker) { a.e.secs.ConfigID[63]++ }, "R"},
		{"enclave CONFIGSVN", same, func(a *asker) { a.e.secs.ConfigSVN++ }, "R"},
		{"requested CONFIGSVN", same, func(a *asker) { a.kr.ConfigSVN++ }, "QS"},
		{"requested CONFIGSVN by policy", noPolicy(same), func(a *asker) { a.kr.ConfigSVN++ }, ""},
		{"ISVFAMILYID", same, func(a *asker) { a.e.isvFamilyID[15]++ }, "QS"},
		{"ISVFAMILYID by policy", noPolicy(same), func(a *asker) { a.e.isvFamilyID[15]++ }, ""},
		{"ISVEXTPRODID", same, func(a *asker) { a.e.isvExtProdID[15]++ }, "QS"},
		{"ISVEXTPRODID by policy", noPolicy(same), func(a *asker) { a.e.isvExtProdID[15]++ }, ""},
		{"MRENCLAVE", same, func(a *asker) { a.e.secs.MREnclave[31]++ }, "RS"},
		{"MRENCLAVE by policy", noPolicy(same), func(a *asker) { a.e.secs.MREnclave[31]++ }, "R"},
		{"MRSIGNER", same, func(a *asker) { a.e.secs.MRSigner[31]++ }, "EPQS"},
		{"MRSIGNER by policy", noPolicy(same), func(a *asker) { a.e.secs.MRSigner[31]++ }, "EPQ"},
		{"DEBUG", same, func(a *asker) { a.e.secs.Attributes.Flags |= sgx.AttrDebug }, "EPQRS"},
		{"DEBUG masked", noMask(same), func(a *asker) { a.e.secs.Attributes.Flags |= sgx.AttrDebug }, "EPQRS"},
		{"attribute", same, func(a *asker) { a.e.secs.Attributes.Flags |= sgx.AttrAEXNotify }, "EPQRS"},
		{"attribute masked", noMask(same), func(a *asker) { a.e.secs.Attributes.Flags |= sgx.AttrAEXNotify }, "R"},
		{"XFRM", same, func(a *asker) { a.e.secs.Attributes.XFRM |= sgx.XFRMAVX }, "EPQRS"},
		{"XFRM masked", noMask(same), func(a *asker) { a.e.secs.Attributes.XFRM |= sgx.XFRMAVX }, "R"},
		{"ATTRIBUTEMASK of a clear flag", same, func(a *asker) { a.kr.AttributeMask.Flags &^= sgx.AttrAEXNotify }, "PQS"},
		{"ATTRIBUTEMASK of a clear feature", same, func(a *asker) { a.kr.AttributeMask.XFRM &^= sgx.XFRMAVX }, "PQS"},
		{"KEYID", same, func(a *asker) { a.kr.KeyID[31]++ }, "ERS"},
		{"requested CPUSVN", same, func(a *asker) { a.kr.CPUSVN[1]-- }, "EPQS"},
		{"MISCSELECT", same, func(a *asker) { a.e.secs.MiscSelect = 0 }, "EPQRS"},
		{"MISCSELECT masked", noMask(same), func(a *asker) { a.e.secs.MiscSelect = 0 }, "R"},
		{"MISCMASK of a clear bit", same, func(a *asker) { a.kr.MiscMask &^= 2 }, "PQS"},
		{"CET_ATTRIBUTES", same, func(a *asker) { a.e.secs.CETAttributes = 8 }, "EPQRS"},
		{"CET_ATTRIBUTES masked", noMask(same), func(a *asker) { a.e.secs.CETAttributes = 8 }, "R"},
		{"CET mask of a clear bit", same, func(a *asker) { a.kr.CETAttributesMask &^= 0x20 }, "PQS"},
		{"KEYPOLICY without effect on identity", func(a *asker) { a.e.isvFamilyID = [16]byte{} },
			func(a *asker) { a.kr.KeyPolicy &^= sgx.PolicyISVFamilyID }, "QS"},
		{"SIZE", same, func(a *asker) { a.e.secs.Size *= 2 }, ""},
		{"BASEADDR", same, func(a *asker) { a.e.secs.BaseAddr += 1 << 30 }, ""},
		{"SSAFRAMESIZE", same, func(a *asker) { a.e.secs.SSAFrameSize++ }, ""},
	} {
		for i, name := range allKeys {
			a := newAsker(name)
			v.base(a)
			before := a.key(t, v.name)
			if again := a.key(t, v.name); again != before {
				t.Fatalf("%s: key %d is not the same twice", v.name, name)
			}
			v.change(a)
			after := a.key(t, v.name)
			want := containsByte(v.matters, "EPQRS"[i])
			if (before != after) != want {
				t.Errorf("%s: key %d changed: %t, want %t", v.name, name, before != after, want)
			}
		}
	}
}

func containsByte(s string, b byte) bool {
	for i := range len(s) {
		if s[i] == b {
			return true
		}
	}
	return false
}

// No two key names share a key, whatever the request.
func TestKeysDiffer(t *testing.T) {
	seen := map[[16]byte]sgx.KeyName{}
	for _, name := range allKeys {
		for _, zero := range []bool{false, true} {
			a := newAsker(name)
			if zero {
				a.kr = sgx.KeyRequest{KeyName: name}
			}
			k := a.key(t, "plain")
			if other, ok := seen[k]; ok {
				t.Errorf("keys %d and %d are the same", name, other)
			}
			seen[k] = name
		}
	}
}

// The derivation is fixed: what has been sealed must stay readable. The values
// come from testdata/keys.py, which uses none of this code; a change here needs a
// new CPUSVN.
func TestKeyVectors(t *testing.T) {
	want := [...]string{
		"8aa25a8ddd29d7b87a1a35ac0634500d",
		"83d63926423f22465c3c235583025ff1",
		"1f6240a62c6b71c67e0d6d3d724f7013",
		"eb97777de0c669488ae03463fb196fe2",
		"623c8c2af4fb45144ec36f9b50245715",
	}
	for i, name := range allKeys {
		k := newAsker(name).key(t, "vector")
		if hexOf(k) != want[i] {
			t.Errorf("key %d is %x, want %s", name, k, want[i])
		}
	}
}

func TestEGetKeyCodes(t *testing.T) {
	for _, v := range []struct {
		name   string
		change func(*asker)
		keys   string
		code   sgx.ErrorCode
	}{
		{"CPUSVN first byte", func(a *asker) { a.kr.CPUSVN[0] = 4 }, "EPQS", sgx.InvalidCPUSVN},
		{"CPUSVN last byte", func(a *asker) { a.kr.CPUSVN = [16]byte{15: 1} }, "EPQS", sgx.InvalidCPUSVN},
		{"ISVSVN", func(a *asker) { a.kr.ISVSVN = a.e.secs.ISVSVN + 1 }, "EPQS", sgx.InvalidISVSVN},
		{"CONFIGSVN", func(a *asker) { a.kr.ConfigSVN = a.e.secs.ConfigSVN + 1 }, "EPQS", sgx.InvalidISVSVN},
		{"CPUSVN before ISVSVN", func(a *asker) { a.kr.CPUSVN[0], a.kr.ISVSVN = 4, 9999 }, "EPQS", sgx.InvalidCPUSVN},
		{"no PROVISIONKEY", func(a *asker) { a.e.secs.Attributes.Flags &^= sgx.AttrProvisionKey }, "PQ", sgx.InvalidAttribute},
		{"no EINITTOKENKEY", func(a *asker) { a.e.secs.Attributes.Flags &^= sgx.AttrEInitTokenKey }, "E", sgx.InvalidAttribute},
		{"attribute before CPUSVN", func(a *asker) { a.e.secs.Attributes.Flags, a.kr.CPUSVN[0] = sgx.AttrInit|sgx.AttrKSS, 4 }, "EPQ", sgx.InvalidAttribute},
		{"name 5", func(a *asker) { a.kr.KeyName = 5 }, "EPQRS", sgx.InvalidKeyName},
		{"name 65535", func(a *asker) { a.kr.KeyName = 65535 }, "EPQRS", sgx.InvalidKeyName},
		{"equal SVNs", func(a *asker) {
			a.kr.CPUSVN, a.kr.ISVSVN, a.kr.ConfigSVN = a.dev.cpuSVN, a.e.secs.ISVSVN, a.e.secs.ConfigSVN
		}, "", 0},
	} {
		for i, name := range allKeys {
			a := newAsker(name)
			v.change(a)
			if v.name == "attribute before CPUSVN" && name == sgx.KeySeal {
				continue // the one that needs no attribute
			}
			want := sgx.Success
			if containsByte(v.keys, "EPQRS"[i]) {
				want = v.code
			}
			k, code, f := a.ask()
			if code != want || f != nil || (k == [16]byte{}) != (want != sgx.Success) {
				t.Errorf("%s: key %d: %x, %v, %v; want %v", v.name, name, k, code, f, want)
			}
		}
	}
}

func TestEGetKeyFaults(t *testing.T) {
	noKSS := func(a *asker) {
		a.e.secs.Attributes.Flags &^= sgx.AttrKSS
		a.kr.KeyPolicy, a.kr.ConfigSVN = sgx.PolicyMRSigner, 0
	}
	for _, name := range append(allKeys, 77) {
		for what, change := range map[string]func(*asker){
			"KEYPOLICY has reserved bits 0x40":   func(a *asker) { a.kr.KeyPolicy = 0x40 },
			"KEYPOLICY has reserved bits 0x8000": func(a *asker) { a.kr.KeyPolicy = 0x8001 },
			"KEYPOLICY has bits 0x4":             func(a *asker) { noKSS(a); a.kr.KeyPolicy |= sgx.PolicyNoISVProdID },
			"KEYPOLICY has bits 0x8":             func(a *asker) { noKSS(a); a.kr.KeyPolicy |= sgx.PolicyConfigID },
			"KEYPOLICY has bits 0x10":            func(a *asker) { noKSS(a); a.kr.KeyPolicy |= sgx.PolicyISVFamilyID },
			"KEYPOLICY has bits 0x20":            func(a *asker) { noKSS(a); a.kr.KeyPolicy |= sgx.PolicyISVExtProdID },
			"CONFIGSVN is 1":                     func(a *asker) { noKSS(a); a.kr.ConfigSVN = 1 },
			"not initialised":                    func(a *asker) { a.e.secs.Attributes.Flags &^= sgx.AttrInit },
		} {
			a := newAsker(name)
			change(a)
			k, code, f := a.ask()
			wantFault(t, what, f, sgx.VectorGP, what)
			if k != [16]byte{} || code != 0 {
				t.Errorf("%s: key %x, code %v", what, k, code)
			}
		}
	}
	a := newAsker(sgx.KeySeal)
	noKSS(a)
	a.key(t, "no KSS")
	for _, off := range []int{7, 78, 511} {
		b, _ := a.kr.AppendBinary(nil)
		b[off] = 1
		_, _, f := EGetKey(newDevice(&a.dev), &a.e, b)
		wantFault(t, "reserved byte", f, sgx.VectorGP, "reserved byte")
	}
	_, _, f := EGetKey(newDevice(&a.dev), &a.e, nil)
	wantFault(t, "no request", f, sgx.VectorGP, "0 bytes")
}

// A report is verified with the key that its target gets for the report's
// KEYID, and with no other enclave's.
func TestEReport(t *testing.T) {
	source, target := newAsker(sgx.KeyReport), newAsker(sgx.KeyReport)
	target.e.secs.MREnclave, target.e.secs.ConfigSVN = sgx.Measurement{0xaa}, 9
	ti := target.e.targetInfo()
	data := [64]byte{1, 2, 63: 3}
	dev := newDevice(&source.dev)
	r, err := EReport(dev, &source.e, &ti, &data)
	if err != nil {
		t.Fatal(err)
	}
	s := &source.e.secs
	want := sgx.ReportBody{
		CPUSVN: source.dev.cpuSVN, MiscSelect: s.MiscSelect, CETAttributes: s.CETAttributes, ISVExtProdID: source.e.isvExtProdID,
		Attributes: s.Attributes, MREnclave: s.MREnclave, MRSigner: s.MRSigner, ConfigID: s.ConfigID, ISVProdID: s.ISVProdID,
		ISVSVN: s.ISVSVN, ConfigSVN: s.ConfigSVN, ISVFamilyID: source.e.isvFamilyID, ReportData: data,
	}
	if r.Body != want {
		t.Errorf("body is\n%+v, want\n%+v", r.Body, want)
	}
	if r.KeyID == [32]byte{} || r.KeyID != dev.secrets().reportKeyID {
		t.Errorf("KEYID is %x", r.KeyID)
	}
	verifies := func(a *asker, r sgx.Report) bool {
		a.kr.KeyID = r.KeyID
		body, _ := r.Body.AppendBinary(nil)
		return cmac.Verify(a.key(t, "report"), body, r.MAC)
	}
	if !verifies(target, r) {
		t.Error("the target does not verify the report")
	}
	if verifies(source, r) {
		t.Error("another enclave verifies the report")
	}
	forged := r
	forged.Body.ReportData[0]++
	if verifies(target, forged) {
		t.Error("a changed report verifies")
	}
	target.dev.seed[0]++
	if verifies(target, r) {
		t.Error("a report of another device verifies")
	}
	for name, change := range map[string]func(*sgx.TargetInfo){
		"MEASUREMENT":    func(x *sgx.TargetInfo) { x.MREnclave[0]++ },
		"ATTRIBUTES":     func(x *sgx.TargetInfo) { x.Attributes.Flags ^= sgx.AttrDebug },
		"XFRM":           func(x *sgx.TargetInfo) { x.Attributes.XFRM ^= sgx.XFRMAVX },
		"CET_ATTRIBUTES": func(x *sgx.TargetInfo) { x.CETAttributes++ },
		"CONFIGSVN":      func(x *sgx.TargetInfo) { x.ConfigSVN++ },
		"MISCSELECT":     func(x *sgx.TargetInfo) { x.MiscSelect ^= 1 },
		"CONFIGID":       func(x *sgx.TargetInfo) { x.ConfigID[63]++ },
	} {
		other := ti
		change(&other)
		q, err := EReport(dev, &source.e, &other, &data)
		if err != nil || q.Body != r.Body || q.MAC == r.MAC {
			t.Errorf("target of other %s: %v, same MAC: %t", name, err, q.MAC == r.MAC)
		}
	}
	source.e.secs.Attributes.Flags &^= sgx.AttrInit
	_, err = EReport(dev, &source.e, &ti, &data)
	wantFault(t, "before EINIT", err, sgx.VectorGP, "not initialised")
}

// Every field of the block has bytes of its own.
func TestKeyDependenciesLayout(t *testing.T) {
	full := keyDependencies{
		0x0101, 0x0202, 0x0303, 0x0404, [16]byte{}, sgx.Attributes{}, sgx.Attributes{}, sgx.Measurement{}, sgx.Measurement{},
		[32]byte{}, [16]byte{}, [16]byte{}, 0x05050505, 0x06060606, 0x0707, 8, 9, [64]byte{}, [16]byte{}, [16]byte{},
	}
	fill := func(b []byte, v byte) {
		for i := range b {
			b[i] = v
		}
	}
	fill(full.ownerEpoch[:], 10)
	full.attributes = sgx.Attributes{Flags: 0x0b0b0b0b0b0b0b0b, XFRM: 0x0c0c0c0c0c0c0c0c}
	full.attributeMask = sgx.Attributes{Flags: 0x0d0d0d0d0d0d0d0d, XFRM: 0x0e0e0e0e0e0e0e0e}
	fill(full.mrEnclave[:], 15)
	fill(full.mrSigner[:], 16)
	fill(full.keyID[:], 17)
	fill(full.sealFuses[:], 18)
	fill(full.cpuSVN[:], 19)
	fill(full.configID[:], 20)
	fill(full.isvFamilyID[:], 21)
	fill(full.isvExtProdID[:], 22)
	count := map[byte]int{}
	for _, b := range full.bytes() {
		count[b]++
	}
	sizes := []int{4, 2, 2, 2, 2, 4, 4, 2, 1, 1, 16, 8, 8, 8, 8, 32, 32, 32, 16, 16, 64, 16, 16}
	for v, n := range sizes {
		if count[byte(v)] != n {
			t.Errorf("value %d has %d bytes, want %d", v, count[byte(v)], n)
		}
	}
}

func BenchmarkEGetKey(b *testing.B) {
	a := newAsker(sgx.KeySeal)
	dev := newDevice(&a.dev)
	request, _ := a.kr.AppendBinary(nil)
	for b.Loop() {
		if _, _, f := EGetKey(dev, &a.e, request); f != nil {
			b.Fatal(f)
		}
	}
}
