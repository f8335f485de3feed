package microcode

import (
	"github.com/enclaveos/eos/pkg/sgx"
)

// requiredSealing is the attributes that every masked key depends on:
// REQUIRED_SEALING_MASK of EGETKEY. A debug enclave never gets the keys of a
// production enclave.
const requiredSealing = sgx.AttrInit | sgx.AttrDebug

// EGetKey does EGETKEY (SDM 40.4) in enclave e. request is the 512 bytes of a
// KEYREQUEST. The outcome is one of three: a key with code sgx.Success,
// another code for RAX, or a fault.
//
// What each key depends on; "request" is the field of KEYREQUEST after the
// checks, "masked" the enclave's value under the request's mask, "policy" the
// enclave's value if KEYPOLICY asks for it and else zero:
//
//	                EINITTOKEN  PROVISION  PROVISION_SEAL  REPORT   SEAL
//	ISVPRODID       enclave     enclave    policy          0        policy
//	ISVSVN          request     request    request         0        request
//	CONFIGID        0           0          policy          enclave  policy
//	CONFIGSVN       0           0          policy          enclave  policy (request)
//	ISVFAMILYID     0           0          policy          0        policy
//	ISVEXTPRODID    0           0          policy          0        policy
//	OWNEREPOCH      device      0          0               device   device
//	SEAL_KEY_FUSES  device      0          device          device   device
//	ATTRIBUTES      masked      masked     masked          enclave  masked
//	ATTRIBUTEMASK   0           request    request         0        request
//	MRENCLAVE       0           0          0               enclave  policy
//	MRSIGNER        enclave     enclave    enclave         0        policy
//	KEYID           request     0          0               request  request
//	CPUSVN          request     request    request         device   request
//	MISCSELECT      masked      masked     masked          enclave  masked
//	MISCMASK        0           inverse    inverse         0        inverse
//	CET_ATTRIBUTES  masked      masked     masked          enclave  masked
//	CET mask        0           inverse    inverse         0        inverse
//	KEYPOLICY       0           0          request         0        request
func EGetKey(dev *Device, e *Enclave, request []byte) (key [16]byte, code sgx.ErrorCode, fault *Fault) {
	const i = "EGETKEY"
	if !e.initialised() {
		return key, 0, gp(i, "the enclave is not initialised")
	}
	kr, err := sgx.ParseKeyRequest(request)
	if err != nil {
		return key, 0, gp(i, "%v", err)
	}
	s := &e.secs
	if r := kr.KeyPolicy &^ sgx.PolicyKnown; r != 0 {
		return key, 0, gp(i, "KEYPOLICY has reserved bits %#x", uint16(r))
	}
	if s.Attributes.Flags&sgx.AttrKSS == 0 {
		if p := kr.KeyPolicy & sgx.PolicyKSS; p != 0 {
			return key, 0, gp(i, "KEYPOLICY has bits %#x, but the enclave has no ATTRIBUTES.KSS", uint16(p))
		}
		if kr.ConfigSVN != 0 {
			return key, 0, gp(i, "CONFIGSVN is %d, but the enclave has no ATTRIBUTES.KSS", kr.ConfigSVN)
		}
	}
	if kr.KeyName == sgx.KeyReport {
		ti := e.targetInfo()
		return dev.reportKey(&ti, kr.KeyID), sgx.Success, nil
	}
	if code := dev.checkKeyRequest(s, kr); code != sgx.Success {
		return key, code, nil
	}
	mask := kr.AttributeMask
	mask.Flags |= requiredSealing
	k := keyDependencies{
		keyName:       kr.KeyName,
		isvSVN:        kr.ISVSVN,
		attributes:    s.Attributes.And(mask),
		cpuSVN:        kr.CPUSVN,
		miscSelect:    s.MiscSelect & sgx.MiscSelect(kr.MiscMask),
		cetAttributes: s.CETAttributes & kr.CETAttributesMask,
	}
	if kr.KeyName != sgx.KeyEInitToken {
		k.attributeMask = kr.AttributeMask
		k.miscMask = ^kr.MiscMask
		k.cetMask = ^kr.CETAttributesMask
	}
	if kr.KeyName != sgx.KeyProvision {
		k.sealFuses = dev.secrets().sealFuses
	}
	if kr.KeyName == sgx.KeyEInitToken || kr.KeyName == sgx.KeySeal {
		k.ownerEpoch = dev.ownerEpoch
		k.keyID = kr.KeyID
	}
	policy := kr.KeyPolicy
	switch kr.KeyName {
	case sgx.KeyEInitToken, sgx.KeyProvision:
		policy = sgx.PolicyMRSigner
	case sgx.KeyProvisionSeal:
		k.keyPolicy = policy
		policy = policy&^sgx.PolicyMREnclave | sgx.PolicyMRSigner
	case sgx.KeySeal:
		k.keyPolicy = policy
	}
	e.identify(&k, policy, kr.ConfigSVN)
	return dev.derive(&k), sgx.Success, nil
}

// checkKeyRequest makes the checks that EGETKEY answers with a code, in its
// order. A report key has none of them.
func (d *Device) checkKeyRequest(s *sgx.SECS, kr *sgx.KeyRequest) sgx.ErrorCode {
	var want sgx.AttrFlags
	switch kr.KeyName {
	case sgx.KeyEInitToken:
		want = sgx.AttrEInitTokenKey
	case sgx.KeyProvision, sgx.KeyProvisionSeal:
		want = sgx.AttrProvisionKey
	case sgx.KeySeal:
	default:
		return sgx.InvalidKeyName
	}
	switch {
	case s.Attributes.Flags&want != want:
		return sgx.InvalidAttribute
	case beyond(kr.CPUSVN, d.cpuSVN):
		return sgx.InvalidCPUSVN
	case kr.ISVSVN > s.ISVSVN:
		return sgx.InvalidISVSVN
	// The SDM writes this check for the seal key alone. The provisioning seal
	// key has the same dependency, so an unchecked one would hand out the keys
	// of configurations to come.
	case kr.ConfigSVN > s.ConfigSVN:
		return sgx.InvalidISVSVN
	}
	return sgx.Success
}

// beyond reports whether the CPUSVN a asks for more than current has. Each
// byte is the version of one component.
func beyond(a, current [16]byte) bool {
	for i := range a {
		if a[i] > current[i] {
			return true
		}
	}
	return false
}

// identify fills in the parts of the enclave's identity that policy asks for.
func (e *Enclave) identify(k *keyDependencies, policy sgx.KeyPolicy, configSVN uint16) {
	s := &e.secs
	if policy&sgx.PolicyMREnclave != 0 {
		k.mrEnclave = s.MREnclave
	}
	if policy&sgx.PolicyMRSigner != 0 {
		k.mrSigner = s.MRSigner
	}
	if policy&sgx.PolicyNoISVProdID == 0 {
		k.isvProdID = s.ISVProdID
	}
	if policy&sgx.PolicyConfigID != 0 {
		k.configID, k.configSVN = s.ConfigID, configSVN
	}
	if policy&sgx.PolicyISVFamilyID != 0 {
		k.isvFamilyID = e.isvFamilyID
	}
	if policy&sgx.PolicyISVExtProdID != 0 {
		k.isvExtProdID = e.isvExtProdID
	}
}

// targetInfo names e as the target of a report.
func (e *Enclave) targetInfo() sgx.TargetInfo {
	s := &e.secs
	return sgx.TargetInfo{
		MREnclave: s.MREnclave, Attributes: s.Attributes, CETAttributes: s.CETAttributes,
		ConfigSVN: s.ConfigSVN, MiscSelect: s.MiscSelect, ConfigID: s.ConfigID,
	}
}
