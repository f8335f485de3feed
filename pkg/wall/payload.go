package wall

import "encoding/binary"

// PayloadError says why pages hold no payload.
type PayloadError string

func (e PayloadError) Error() string { return "payload: " + string(e) }

// AppendPayloadHeader appends to dst what stands before a payload of n bytes.
func AppendPayloadHeader(dst []byte, n uint64) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, PayloadMagic)
	return binary.LittleEndian.AppendUint64(dst, n)
}

// ParsePayload returns the payload in its pages, which are a slice of them. They
// must be no more than it needs, with zeros behind it.
func ParsePayload(pages []byte) ([]byte, error) {
	const page = 0x1000
	if len(pages) < PayloadHeader || binary.LittleEndian.Uint64(pages) != PayloadMagic {
		return nil, PayloadError("no EOSPAYLD at its start")
	}
	n, room := binary.LittleEndian.Uint64(pages[8:]), uint64(len(pages))-PayloadHeader
	switch {
	case len(pages)%page != 0:
		return nil, PayloadError("not whole pages")
	case n > room:
		return nil, PayloadError("its pages are missing")
	case room-n >= page:
		return nil, PayloadError("there are pages behind it")
	}
	for _, b := range pages[PayloadHeader+n:] {
		if b != 0 {
			return nil, PayloadError("something follows it")
		}
	}
	return pages[PayloadHeader : PayloadHeader+n : PayloadHeader+n], nil
}
