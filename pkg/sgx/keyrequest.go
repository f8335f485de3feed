package sgx

// KeyRequestSize is the size of a KEYREQUEST in bytes.
const KeyRequestSize = 512

// KeyName selects the key that EGETKEY derives (SDM 38.17.1).
type KeyName uint16

// The keys.
const (
	KeyEInitToken    KeyName = 0
	KeyProvision     KeyName = 1
	KeyProvisionSeal KeyName = 2
	KeyReport        KeyName = 3
	KeySeal          KeyName = 4
)

// KeyPolicy selects what a seal key depends on (SDM 38.17.2). All but the
// first two bits want ATTRIBUTES.KSS.
type KeyPolicy uint16

// The bits of KeyPolicy.
const (
	PolicyMREnclave    KeyPolicy = 1 << 0
	PolicyMRSigner     KeyPolicy = 1 << 1
	PolicyNoISVProdID  KeyPolicy = 1 << 2
	PolicyConfigID     KeyPolicy = 1 << 3
	PolicyISVFamilyID  KeyPolicy = 1 << 4
	PolicyISVExtProdID KeyPolicy = 1 << 5

	PolicyKSS   = PolicyNoISVProdID | PolicyConfigID | PolicyISVFamilyID | PolicyISVExtProdID
	PolicyKnown = PolicyMREnclave | PolicyMRSigner | PolicyKSS
)

// KeyRequest is the input of EGETKEY (SDM 38.17).
//
//	0    2  KEYNAME
//	2    2  KEYPOLICY
//	4    2  ISVSVN
//	6    1  CET_ATTRIBUTES_MASK
//	7    1  reserved
//	8   16  CPUSVN
//	24  16  ATTRIBUTEMASK
//	40  32  KEYID
//	72   4  MISCMASK
//	76   2  CONFIGSVN
//	78 434  reserved
type KeyRequest struct {
	KeyName           KeyName
	KeyPolicy         KeyPolicy
	ISVSVN            uint16
	CETAttributesMask uint8
	CPUSVN            [16]byte
	AttributeMask     Attributes
	KeyID             [32]byte
	MiscMask          uint32
	ConfigSVN         uint16
}

var keyRequestLayout = layout{"KEYREQUEST", KeyRequestSize, [][2]int{{7, 1}, {78, 434}}}

// ParseKeyRequest reads exactly KeyRequestSize bytes.
func ParseKeyRequest(b []byte) (*KeyRequest, error) {
	if err := keyRequestLayout.check(b); err != nil {
		return nil, err
	}
	return &KeyRequest{
		KeyName:           KeyName(le.Uint16(b)),
		KeyPolicy:         KeyPolicy(le.Uint16(b[2:])),
		ISVSVN:            le.Uint16(b[4:]),
		CETAttributesMask: b[6],
		CPUSVN:            [16]byte(b[8:24]),
		AttributeMask:     getAttributes(b[24:]),
		KeyID:             [32]byte(b[40:72]),
		MiscMask:          le.Uint32(b[72:]),
		ConfigSVN:         le.Uint16(b[76:]),
	}, nil
}

// AppendBinary appends the KeyRequestSize bytes of k to dst. The error is
// always nil.
func (k *KeyRequest) AppendBinary(dst []byte) ([]byte, error) {
	dst, b := grow(dst, KeyRequestSize)
	le.PutUint16(b, uint16(k.KeyName))
	le.PutUint16(b[2:], uint16(k.KeyPolicy))
	le.PutUint16(b[4:], k.ISVSVN)
	b[6] = k.CETAttributesMask
	copy(b[8:], k.CPUSVN[:])
	k.AttributeMask.put(b[24:])
	copy(b[40:], k.KeyID[:])
	le.PutUint32(b[72:], k.MiscMask)
	le.PutUint16(b[76:], k.ConfigSVN)
	return dst, nil
}
