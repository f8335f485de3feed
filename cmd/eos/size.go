package main

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// sizeUnits are powers of two only. "MB" means 10^6 to some and 2^20 to
// others, so it is refused.
var sizeUnits = map[string]uint{
	"": 0, "b": 0,
	"k": 10, "kib": 10,
	"m": 20, "mib": 20,
	"g": 30, "gib": 30,
	"t": 40, "tib": 40,
}

// parseSize reads "4096", "0x1000", "64MiB", "64M".
func parseSize(s string) (uint64, error) {
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		n, err := strconv.ParseUint(hex, 16, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a size", s)
		}
		return n, nil
	}
	end := 0
	for end < len(s) && '0' <= s[end] && s[end] <= '9' {
		end++
	}
	unit := strings.ToLower(strings.TrimSpace(s[end:]))
	shift, ok := sizeUnits[unit]
	switch {
	case unit == "kb" || unit == "mb" || unit == "gb" || unit == "tb":
		return 0, fmt.Errorf("%q could mean two sizes: write %s for a power of two", s, strings.ToUpper(unit[:1])+"iB")
	case end == 0 || !ok:
		return 0, fmt.Errorf("%q is not a size: write for example 4096, 0x1000, 128KiB or 64MiB", s)
	}
	n, err := strconv.ParseUint(s[:end], 10, 64)
	if hi, _ := bits.Mul64(n, 1<<shift); err != nil || hi != 0 {
		return 0, fmt.Errorf("size %s does not fit in 64 bits", s)
	}
	return n << shift, nil
}

// humanSize prints a size with the unit that leaves it below 1024 and at most
// one decimal: "64 MiB", "41.3 KiB", "17 B".
func humanSize(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	unit := 0
	div := uint64(1)
	for n/div >= 1024 && unit < 5 {
		div <<= 10
		unit++
	}
	s := fmt.Sprintf("%.1f", float64(n)/float64(div))
	return strings.TrimSuffix(s, ".0") + " " + []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}[unit]
}

// sizeFlag is a pflag.Value for sizes.
type sizeFlag uint64

func (f *sizeFlag) String() string { return strings.ReplaceAll(humanSize(uint64(*f)), " ", "") }
func (f *sizeFlag) Type() string   { return "SIZE" }
func (f *sizeFlag) Set(s string) error {
	n, err := parseSize(s)
	if err == nil {
		*f = sizeFlag(n)
	}
	return err
}
