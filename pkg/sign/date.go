package sign

import (
	"fmt"
	"strconv"
	"time"
)

// DefaultDate is the DATE of a SIGSTRUCT when nobody names one: 1970-01-01,
// which is also what SOURCE_DATE_EPOCH=0 gives. It is not today, since the
// same input must give the same bytes; no part of SGX reads the field.
const DefaultDate uint32 = 0x19700101

// Date returns the DATE to sign with when none is given: the UTC day of
// SOURCE_DATE_EPOCH (seconds since 1970, reproducible-builds.org) if that is
// set in the environment, else DefaultDate. lookup is os.LookupEnv.
func Date(lookup func(string) (string, bool)) (uint32, error) {
	v, ok := lookup("SOURCE_DATE_EPOCH")
	if !ok || v == "" {
		return DefaultDate, nil
	}
	sec, err := strconv.ParseUint(v, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("SOURCE_DATE_EPOCH=%q: want seconds since 1970 in decimal", v)
	}
	const year10000 = 253402300800
	if sec >= year10000 {
		return 0, fmt.Errorf("SOURCE_DATE_EPOCH=%q: after the year 9999", v)
	}
	return DateOf(time.Unix(int64(sec), 0)), nil
}

// DateOf returns the UTC day of t as DATE wants it: 2025-01-02 is 0x20250102.
// The year must be 0 to 9999.
func DateOf(t time.Time) uint32 {
	y, m, d := t.UTC().Date()
	n := y*10000 + int(m)*100 + d
	bcd, shift := uint32(0), 0
	for ; n > 0; n /= 10 {
		bcd |= uint32(n%10) << shift
		shift += 4
	}
	return bcd
}

// ParseDate reads YYYYMMDD or YYYY-MM-DD, which must be a day of the calendar.
func ParseDate(s string) (uint32, error) {
	for _, layout := range []string{"20060102", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return DateOf(t), nil
		}
	}
	return 0, fmt.Errorf("date %q: want a day as YYYYMMDD", s)
}

// FormatDate returns DATE as YYYY-MM-DD, or in hex if it is not a day of the
// calendar.
func FormatDate(date uint32) string {
	if t, err := time.Parse("20060102", fmt.Sprintf("%08x", date)); err == nil {
		return t.Format(time.DateOnly)
	}
	return fmt.Sprintf("0x%08x", date)
}
