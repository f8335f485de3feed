package attest

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// EnclaveLevel is one row of a QE identity or of a TDX module identity.
type EnclaveLevel struct {
	ISVSVN     uint16
	Date       time.Time
	Status     TCBStatus
	Advisories []string
}

// QEIdentity is a parsed enclave identity, version 2: what the quoting
// enclave must be.
type QEIdentity struct {
	ID                         string // "QE" or "TD_QE"
	Version                    int
	IssueDate                  time.Time
	NextUpdate                 time.Time
	EvaluationData             uint32
	MiscSelect, MiscSelectMask uint32
	Attributes, AttributesMask [16]byte // as they lie in a report
	MRSigner                   [32]byte
	ISVProdID                  uint16
	Levels                     []EnclaveLevel // newest first
}

// ParseQEIdentity reads the body of a QE identity. Keys that are not known
// are passed over.
func ParseQEIdentity(b []byte) (*QEIdentity, error) {
	q := &QEIdentity{}
	err := parseJSON(b, func(r *reader) error {
		return r.object(func(key []byte) (err error) {
			var n uint64
			switch string(key) {
			case "id":
				q.ID, err = r.str()
			case "version":
				n, err = r.number(1 << 16)
				q.Version = int(n)
			case "issueDate":
				q.IssueDate, err = r.date()
			case "nextUpdate":
				q.NextUpdate, err = r.date()
			case "tcbEvaluationDataNumber":
				n, err = r.number(1<<32 - 1)
				q.EvaluationData = uint32(n)
			case "miscselect":
				q.MiscSelect, err = r.hex32()
			case "miscselectMask":
				q.MiscSelectMask, err = r.hex32()
			case "attributes":
				err = r.hex(q.Attributes[:])
			case "attributesMask":
				err = r.hex(q.AttributesMask[:])
			case "mrsigner":
				err = r.hex(q.MRSigner[:])
			case "isvprodid":
				n, err = r.number(1<<16 - 1)
				q.ISVProdID = uint16(n)
			case "tcbLevels":
				q.Levels, err = r.enclaveLevels()
			default:
				return r.skip()
			}
			return err
		}, "id", "version", "issueDate", "nextUpdate", "tcbEvaluationDataNumber", "miscselect", "miscselectMask",
			"attributes", "attributesMask", "mrsigner", "isvprodid", "tcbLevels")
	})
	if err == nil && q.Version != 2 {
		err = fmt.Errorf("version %d: want 2", q.Version)
	}
	if err == nil && q.ID != "QE" && q.ID != "TD_QE" {
		err = fmt.Errorf("id %q: want QE or TD_QE", q.ID)
	}
	if err == nil && len(q.Levels) == 0 {
		err = fmt.Errorf("no TCB level")
	}
	if err != nil {
		return nil, fmt.Errorf("QE identity: %w", err)
	}
	return q, nil
}

// MarshalJSON writes the body in Intel's form.
func (q *QEIdentity) MarshalJSON() ([]byte, error) {
	b := fmt.Appendf(nil, `{"id":%s,"version":%d,"issueDate":%q,"nextUpdate":%q,"tcbEvaluationDataNumber":%d,`+
		`"miscselect":%q,"miscselectMask":%q,"attributes":"%X","attributesMask":"%X","mrsigner":"%X","isvprodid":%d,`,
		jsonString(q.ID), q.Version, jsonDate(q.IssueDate), jsonDate(q.NextUpdate), q.EvaluationData,
		hexString(le.AppendUint32(nil, q.MiscSelect)), hexString(le.AppendUint32(nil, q.MiscSelectMask)), q.Attributes[:], q.AttributesMask[:], q.MRSigner[:], q.ISVProdID)
	return append(appendLevels(b, q.Levels), '}'), nil
}

func (r *reader) enclaveLevels() ([]EnclaveLevel, error) {
	levels := make([]EnclaveLevel, 0, 8)
	err := r.list(maxLevels, func() error {
		var l EnclaveLevel
		err := r.object(func(key []byte) (err error) {
			switch string(key) {
			case "tcb":
				err = r.object(func(key []byte) error {
					if string(key) != "isvsvn" {
						return r.skip()
					}
					l.ISVSVN, err = r.uint16()
					return err
				}, "isvsvn")
			case "tcbDate":
				l.Date, err = r.date()
			case "tcbStatus":
				l.Status, err = r.status()
			case "advisoryIDs":
				l.Advisories, err = r.advisories()
			default:
				return r.skip()
			}
			return err
		}, "tcb", "tcbDate", "tcbStatus")
		levels = append(levels, l)
		return err
	})
	return levels, err
}

func appendLevels(b []byte, levels []EnclaveLevel) []byte {
	b = append(b, `"tcbLevels":[`...)
	for i, l := range levels {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"tcb":{"isvsvn":%d}`, l.ISVSVN)
		b = append(appendRow(b, l.Date, l.Status, l.Advisories), '}')
	}
	return append(b, ']')
}

// appendRow appends what rows of every document have in common.
func appendRow(b []byte, date time.Time, s TCBStatus, advisories []string) []byte {
	b = fmt.Appendf(b, `,"tcbDate":%q,"tcbStatus":%q`, jsonDate(date), s)
	if len(advisories) > 0 {
		b = append(b, `,"advisoryIDs":[`...)
		for i, a := range advisories {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, jsonString(a)...)
		}
		b = append(b, ']')
	}
	return b
}

// jsonDate writes a time as Intel does: seconds, UTC.
func jsonDate(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// date reads a time in the form of jsonDate.
func (r *reader) date() (time.Time, error) {
	s, err := r.str()
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse("2006-01-02T15:04:05Z", s)
	if err != nil || len(s) != len("2006-01-02T15:04:05Z") { // Parse would take fractions of a second
		return t, r.errorf("date %q: want YYYY-MM-DDThh:mm:ssZ", s)
	}
	return t, nil
}

func (r *reader) status() (TCBStatus, error) {
	s, err := r.str()
	if err != nil {
		return StatusUnknown, err
	}
	return ParseTCBStatus(s)
}

func (r *reader) advisories() ([]string, error) {
	ids := make([]string, 0, 16)
	err := r.list(maxAdvisories, func() error {
		s, err := r.str()
		ids = append(ids, s)
		return err
	})
	if len(ids) == 0 {
		ids = nil
	}
	return ids, err
}

// hex32 reads 8 hex digits, the bytes as they lie in a report.
func (r *reader) hex32() (uint32, error) {
	var b [4]byte
	err := r.hex(b[:])
	return le.Uint32(b[:]), err
}

// hexString is the inverse of hex, in Intel's upper case.
func hexString(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

// jsonString quotes s.
func jsonString(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always has a JSON form
	}
	return string(b)
}

// list reads an array of at most max elements.
func (r *reader) list(max int, element func() error) error {
	return r.array(func(n int) error {
		if n >= max {
			return r.errorf("more than %d elements", max)
		}
		return element()
	})
}
