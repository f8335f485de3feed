package edptool

import "strconv"

// rustUint reads a decimal number as Rust's parse does. On an error, kind is
// what Rust calls it.
func rustUint(s string, bits int) (n uint64, kind string) {
	digits := s
	if len(s) > 1 && s[0] == '+' {
		digits = s[1:]
	}
	if digits == "" {
		return 0, "Empty"
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, "InvalidDigit"
		}
	}
	n, err := strconv.ParseUint(digits, 10, bits)
	if err != nil {
		return 0, "PosOverflow"
	}
	return n, ""
}
