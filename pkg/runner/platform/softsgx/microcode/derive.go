package microcode

import (
	"crypto/hkdf"
	"crypto/sha256"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgx/cmac"
)

// keyDependenciesSize is the size of the block that a key is derived from.
const keyDependenciesSize = 296

// keyDependencies is what a key depends on: KEYDEPENDENCIES of the SDM, whose
// layout Intel keeps to itself. A key is AES-CMAC(root key, this block):
//
//	0    2  KEYNAME
//	2    2  ISVPRODID
//	4    2  ISVSVN
//	6    2  CONFIGSVN
//	8   16  SGXOWNEREPOCH
//	24  16  ATTRIBUTES
//	40  16  ATTRIBUTEMASK
//	56  32  MRENCLAVE
//	88  32  MRSIGNER
//	120 32  KEYID
//	152 16  SEAL_KEY_FUSES
//	168 16  CPUSVN
//	184  4  MISCSELECT
//	188  4  MISCMASK
//	192  2  KEYPOLICY
//	194  1  CET_ATTRIBUTES
//	195  1  CET_ATTRIBUTES_MASK
//	196  4  zero
//	200 64  CONFIGID
//	264 16  ISVFAMILYID
//	280 16  ISVEXTPRODID
//
// The SDM's PADDING is left out: it is the PKCS #1 padding of the SIGSTRUCT's
// signature, which EINIT has found to be the constant one.
type keyDependencies struct {
	keyName       sgx.KeyName
	isvProdID     uint16
	isvSVN        uint16
	configSVN     uint16
	ownerEpoch    [16]byte
	attributes    sgx.Attributes
	attributeMask sgx.Attributes
	mrEnclave     sgx.Measurement
	mrSigner      sgx.Measurement
	keyID         [32]byte
	sealFuses     [16]byte
	cpuSVN        [16]byte
	miscSelect    sgx.MiscSelect
	miscMask      uint32
	keyPolicy     sgx.KeyPolicy
	cetAttributes uint8
	cetMask       uint8
	configID      [64]byte
	isvFamilyID   [16]byte
	isvExtProdID  [16]byte
}

func (k *keyDependencies) bytes() (b [keyDependenciesSize]byte) {
	le.PutUint16(b[0:], uint16(k.keyName))
	le.PutUint16(b[2:], k.isvProdID)
	le.PutUint16(b[4:], k.isvSVN)
	le.PutUint16(b[6:], k.configSVN)
	copy(b[8:24], k.ownerEpoch[:])
	le.PutUint64(b[24:], uint64(k.attributes.Flags))
	le.PutUint64(b[32:], uint64(k.attributes.XFRM))
	le.PutUint64(b[40:], uint64(k.attributeMask.Flags))
	le.PutUint64(b[48:], uint64(k.attributeMask.XFRM))
	copy(b[56:88], k.mrEnclave[:])
	copy(b[88:120], k.mrSigner[:])
	copy(b[120:152], k.keyID[:])
	copy(b[152:168], k.sealFuses[:])
	copy(b[168:184], k.cpuSVN[:])
	le.PutUint32(b[184:], uint32(k.miscSelect))
	le.PutUint32(b[188:], k.miscMask)
	le.PutUint16(b[192:], uint16(k.keyPolicy))
	b[194], b[195] = k.cetAttributes, k.cetMask
	copy(b[200:264], k.configID[:])
	copy(b[264:280], k.isvFamilyID[:])
	copy(b[280:296], k.isvExtProdID[:])
	return b
}

// derive returns the key that depends on k and on this device.
func (d *Device) derive(k *keyDependencies) [16]byte {
	b := k.bytes()
	return cmac.Sum(d.secrets().rootKey, b[:])
}

// expand derives a secret of the device from its seed: HKDF-SHA256 without
// salt, with label as info. Each label is used for one purpose.
func expand(seed *[SeedSize]byte, label string, out []byte) {
	b, err := hkdf.Key(sha256.New, seed[:], nil, label, len(out))
	if err != nil {
		panic(err) // only for more than 255 * 32 bytes
	}
	copy(out, b)
}
