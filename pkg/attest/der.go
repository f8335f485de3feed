package attest

import "errors"

// Tags of DER that the SGX extension uses.
const (
	derBoolean     = 0x01
	derInteger     = 0x02
	derOctetString = 0x04
	derOID         = 0x06
	derEnumerated  = 0x0a
	derSequence    = 0x30
)

var errDER = errors.New("not well-formed DER")

// derNext splits the first element off b. Lengths must be in their shortest
// form; elements of 64 KiB and more do not occur.
func derNext(b []byte) (tag byte, value, rest []byte, err error) {
	if len(b) < 2 {
		return 0, nil, nil, errDER
	}
	tag = b[0]
	n, head := int(b[1]), 2
	switch {
	case n < 0x80:
	case n == 0x81 && len(b) >= 3 && b[2] >= 0x80:
		n, head = int(b[2]), 3
	case n == 0x82 && len(b) >= 4 && b[2] != 0:
		n, head = int(b[2])<<8|int(b[3]), 4
	default:
		return 0, nil, nil, errDER
	}
	if len(b)-head < n {
		return 0, nil, nil, errDER
	}
	return tag, b[head : head+n], b[head+n:], nil
}

// derTLV appends an element.
func derTLV(dst []byte, tag byte, value []byte) []byte {
	dst = append(dst, tag)
	switch n := len(value); {
	case n < 0x80:
		dst = append(dst, byte(n))
	case n < 0x100:
		dst = append(dst, 0x81, byte(n))
	default:
		dst = append(dst, 0x82, byte(n>>8), byte(n))
	}
	return append(dst, value...)
}

// derUint reads a non-negative INTEGER or ENUMERATED of at most max.
func derUint(b []byte, max int) (int, error) {
	if len(b) == 0 || b[0] >= 0x80 || len(b) > 1 && b[0] == 0 && b[1] < 0x80 || len(b) > 4 {
		return 0, errDER
	}
	n := 0
	for _, c := range b {
		n = n<<8 | int(c)
	}
	if n > max {
		return 0, errors.New("number out of range")
	}
	return n, nil
}

// derUintBytes is the inverse of derUint for numbers below 2^16.
func derUintBytes(n int) []byte {
	switch {
	case n < 0x80:
		return []byte{byte(n)}
	case n < 0x8000:
		if n < 0x100 {
			return []byte{0, byte(n)}
		}
		return []byte{byte(n >> 8), byte(n)}
	}
	return []byte{0, byte(n >> 8), byte(n)}
}
