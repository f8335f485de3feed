package edptool

import (
	"errors"
	"strconv"
	"strings"
)

// parseNumber reads a number as the originals do: decimal, or hexadecimal after
// a lower-case 0x, with an optional plus sign in front of the digits.
func parseNumber(s string, bits int) (uint64, error) {
	base := 10
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		s, base = hex, 16
	}
	return strconv.ParseUint(strings.TrimPrefix(s, "+"), base, bits)
}

// checkRange returns a check of an argument that must be a number of that many
// bits.
func checkRange(bits int) func(string) error {
	return func(s string) error {
		if _, err := parseNumber(s, bits); err != nil {
			return errors.New("the value must be numeric")
		}
		return nil
	}
}
