package ratls

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The part of CBOR (RFC 8949) that evidence is made of: unsigned integers, byte and
// text strings, arrays, maps and tags, of definite length and in the shortest form.

// Major types.
const (
	cborUint  = 0
	cborBytes = 2
	cborText  = 3
	cborArray = 4
	cborMap   = 5
	cborTag   = 6
)

var cborNames = [8]string{"an unsigned integer", "a negative integer", "a byte string", "a text string", "an array", "a map", "a tag", "a simple value"}

var errCBORShort = errors.New("ends in the middle of an item")

// cborReader takes items off the front of b.
type cborReader struct{ b []byte }

// head reads the first bytes of an item, which must be of the type want.
func (r *cborReader) head(want byte) (uint64, error) {
	if len(r.b) == 0 {
		return 0, errCBORShort
	}
	if major := r.b[0] >> 5; major != want {
		return 0, fmt.Errorf("%s where %s belongs", cborNames[major], cborNames[want])
	}
	info := r.b[0] & 31
	if info < 24 {
		r.b = r.b[1:]
		return uint64(info), nil
	}
	if info > 27 {
		return 0, errors.New("a length that is indefinite or reserved")
	}
	n := 1 << (info - 24)
	if len(r.b) < 1+n {
		return 0, errCBORShort
	}
	var v uint64
	for _, c := range r.b[1 : 1+n] {
		v = v<<8 | uint64(c)
	}
	if v < 24 || n > 1 && v < 1<<(8*n/2) {
		return 0, errors.New("a number that is not in its shortest form")
	}
	r.b = r.b[1+n:]
	return v, nil
}

// string reads a byte or text string.
func (r *cborReader) string(want byte) ([]byte, error) {
	n, err := r.head(want)
	if err != nil {
		return nil, err
	}
	if n > uint64(len(r.b)) {
		return nil, errCBORShort
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s, nil
}

// count reads the head of an item and wants n in it.
func (r *cborReader) count(want byte, n uint64) error {
	got, err := r.head(want)
	if err == nil && got != n {
		err = fmt.Errorf("%s of %d where %d belongs", cborNames[want], got, n)
	}
	return err
}

func (r *cborReader) end() error {
	if len(r.b) != 0 {
		return fmt.Errorf("%d bytes behind the last item", len(r.b))
	}
	return nil
}

// appendCBOR appends the head of an item: its type and its number or length.
func appendCBOR(b []byte, major byte, n uint64) []byte {
	m := major << 5
	switch {
	case n < 24:
		return append(b, m|byte(n))
	case n < 1<<8:
		return append(b, m|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, m|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, m|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, m|27), n)
}

func appendCBORString(b []byte, major byte, s []byte) []byte {
	return append(appendCBOR(b, major, uint64(len(s))), s...)
}
