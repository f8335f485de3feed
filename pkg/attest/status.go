package attest

import "fmt"

// TCBStatus is Intel's word for the state of a platform, of a quoting enclave
// or of a TDX module. The zero value says that nothing is known, which no
// policy can accept.
type TCBStatus uint8

// The statuses. Revoked can never be accepted.
const (
	StatusUnknown TCBStatus = iota
	UpToDate
	SWHardeningNeeded
	ConfigurationNeeded
	ConfigurationAndSWHardeningNeeded
	OutOfDate
	OutOfDateConfigurationNeeded
	Revoked
)

var statusNames = [...]string{
	StatusUnknown:                     "Unknown",
	UpToDate:                          "UpToDate",
	SWHardeningNeeded:                 "SWHardeningNeeded",
	ConfigurationNeeded:               "ConfigurationNeeded",
	ConfigurationAndSWHardeningNeeded: "ConfigurationAndSWHardeningNeeded",
	OutOfDate:                         "OutOfDate",
	OutOfDateConfigurationNeeded:      "OutOfDateConfigurationNeeded",
	Revoked:                           "Revoked",
}

// String returns Intel's spelling, "Unknown" for the zero value.
func (s TCBStatus) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("TCBStatus(%d)", uint8(s))
}

// ParseTCBStatus reads Intel's spelling. "Unknown" is not one of Intel's.
func ParseTCBStatus(s string) (TCBStatus, error) {
	for i, n := range statusNames[UpToDate:] {
		if n == s {
			return UpToDate + TCBStatus(i), nil
		}
	}
	return StatusUnknown, fmt.Errorf("TCB status %q: want one of %v", s, statusNames[UpToDate:])
}

// MarshalText returns what String returns.
func (s TCBStatus) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseTCBStatus.
func (s *TCBStatus) UnmarshalText(b []byte) error {
	v, err := ParseTCBStatus(string(b))
	if err == nil {
		*s = v
	}
	return err
}
