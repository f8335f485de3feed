package sgx

import (
	"encoding/hex"
	"fmt"
)

// FormatError says why bytes are not the structure that they should be.
type FormatError struct {
	Struct string // the structure's name in the SDM
	Off    int    // byte offset in the structure, -1 if the size is wrong
	What   string
}

func (e *FormatError) Error() string {
	if e.Off < 0 {
		return fmt.Sprintf("%s: %s", e.Struct, e.What)
	}
	return fmt.Sprintf("%s: offset %d: %s", e.Struct, e.Off, e.What)
}

// layout is the size of a structure and its reserved ranges, which Parse
// wants zero: two readings of the same bytes must not differ.
type layout struct {
	name     string
	size     int
	reserved [][2]int // first byte, length
}

func (l *layout) check(b []byte) error {
	if len(b) != l.size {
		return &FormatError{l.name, -1, fmt.Sprintf("%d bytes, want %d", len(b), l.size)}
	}
	for _, r := range l.reserved {
		for i := r[0]; i < r[0]+r[1]; i++ {
			if b[i] != 0 {
				return &FormatError{l.name, i, fmt.Sprintf("reserved byte is %#02x, want 0", b[i])}
			}
		}
	}
	return nil
}

// Measurement is a SHA-256 value of the architecture: MRENCLAVE or MRSIGNER.
type Measurement [32]byte

// String returns 64 lower-case hex digits.
func (m Measurement) String() string { return hex.EncodeToString(m[:]) }

// ParseMeasurement reads 64 hex digits of any case.
func ParseMeasurement(s string) (Measurement, error) {
	var m Measurement
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(m) {
		return m, fmt.Errorf("measurement %q: want 64 hex digits", s)
	}
	copy(m[:], b)
	return m, nil
}

// MarshalText returns what String returns.
func (m Measurement) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (m *Measurement) UnmarshalText(b []byte) error {
	v, err := ParseMeasurement(string(b))
	if err == nil {
		*m = v
	}
	return err
}
