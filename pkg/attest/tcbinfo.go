package attest

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// TCBInfo is a parsed TCB info, version 2 or 3 (PCS API 3 and 4).
type TCBInfo struct {
	ID             string // "SGX" or "TDX"; version 2 is always SGX
	Version        int
	IssueDate      time.Time
	NextUpdate     time.Time
	FMSPC          [6]byte
	PCEID          [2]byte
	TCBType        int
	EvaluationData uint32
	Module         *TDXModule // TDX only
	Modules        []TDXModuleIdentity
	Levels         []TCBLevel // newest first
}

// TCBLevel is one row of a TCB info.
type TCBLevel struct {
	SGX        [16]uint8
	TDX        *[16]uint8 // TDX only
	PCESVN     uint16
	Date       time.Time
	Status     TCBStatus
	Advisories []string
}

// TDXModule is what the signer and attributes of a TDX module must be.
type TDXModule struct {
	MRSigner                   [48]byte
	Attributes, AttributesMask [8]byte
}

// TDXModuleIdentity is a TDXModule of one major version, with levels.
type TDXModuleIdentity struct {
	ID string // "TDX_01"
	TDXModule
	Levels []EnclaveLevel // newest first
}

// Lists longer than these are no documents of Intel's; the bounds keep a
// hostile text from costing more than its size.
const (
	maxLevels     = 256
	maxAdvisories = 256
)

// ParseTCBInfo reads the body of a TCB info. Keys that are not known are
// passed over: the text is signed, and Intel adds keys.
func ParseTCBInfo(b []byte) (*TCBInfo, error) {
	t := &TCBInfo{TCBType: -1}
	err := parseJSON(b, func(r *reader) error {
		return r.object(func(key []byte) (err error) {
			var n uint64
			switch string(key) {
			case "id":
				t.ID, err = r.str()
			case "version":
				n, err = r.number(1 << 16)
				t.Version = int(n)
			case "issueDate":
				t.IssueDate, err = r.date()
			case "nextUpdate":
				t.NextUpdate, err = r.date()
			case "fmspc":
				err = r.hex(t.FMSPC[:])
			case "pceId":
				err = r.hex(t.PCEID[:])
			case "tcbType":
				n, err = r.number(1 << 16)
				t.TCBType = int(n)
			case "tcbEvaluationDataNumber":
				n, err = r.number(1<<32 - 1)
				t.EvaluationData = uint32(n)
			case "tdxModule":
				t.Module = &TDXModule{}
				err = r.tdxModule(t.Module, nil, nil)
			case "tdxModuleIdentities":
				err = r.list(maxLevels, func() error {
					var m TDXModuleIdentity
					err := r.tdxModule(&m.TDXModule, &m.ID, &m.Levels)
					t.Modules = append(t.Modules, m)
					return err
				})
			case "tcbLevels":
				t.Levels = make([]TCBLevel, 0, 24)
				err = r.list(maxLevels, func() error {
					l, err := r.tcbLevel()
					t.Levels = append(t.Levels, l)
					return err
				})
			default:
				return r.skip()
			}
			return err
		}, "version", "issueDate", "nextUpdate", "fmspc", "pceId", "tcbType", "tcbEvaluationDataNumber", "tcbLevels")
	})
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return nil, fmt.Errorf("TCB info: %w", err)
	}
	return t, nil
}

func (t *TCBInfo) check() error {
	switch {
	case t.Version == 2 && t.ID == "":
		t.ID = "SGX"
	case t.Version == 3 && (t.ID == "SGX" || t.ID == "TDX"):
	case t.Version != 2 && t.Version != 3:
		return fmt.Errorf("version %d: want 2 or 3", t.Version)
	default:
		return fmt.Errorf("id %q in version %d", t.ID, t.Version)
	}
	if t.TCBType != 0 {
		return fmt.Errorf("tcbType %d: want 0, the only one whose levels we can compare", t.TCBType)
	}
	if len(t.Levels) == 0 {
		return fmt.Errorf("no TCB level")
	}
	tdx := t.ID == "TDX"
	if tdx && t.Module == nil {
		return fmt.Errorf("no tdxModule")
	}
	for i, l := range t.Levels {
		if (l.TDX != nil) != tdx {
			return fmt.Errorf("level %d: tdxtcbcomponents do not go with id %s", i, t.ID)
		}
	}
	return nil
}

// tcbLevel reads an element of "tcbLevels" in the form of either version.
func (r *reader) tcbLevel() (TCBLevel, error) {
	var l TCBLevel
	err := r.object(func(key []byte) (err error) {
		switch string(key) {
		case "tcb":
			err = r.tcb(&l)
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
	return l, err
}

func (r *reader) tcb(l *TCBLevel) error {
	named, listed := 0, false
	err := r.object(func(key []byte) (err error) {
		var n uint64
		switch k := string(key); {
		case k == "pcesvn":
			l.PCESVN, err = r.uint16()
		case k == "sgxtcbcomponents":
			listed = true
			err = r.components(&l.SGX)
		case k == "tdxtcbcomponents":
			l.TDX = new([16]uint8)
			err = r.components(l.TDX)
		case len(k) == len("sgxtcbcomp01svn") && strings.HasPrefix(k, "sgxtcbcomp") && k[12:] == "svn":
			i := int(k[10]-'0')*10 + int(k[11]-'0')
			if i < 1 || i > 16 {
				return r.errorf("component %q", k)
			}
			named++
			n, err = r.number(0xff)
			l.SGX[i-1] = uint8(n)
		default:
			return r.skip()
		}
		return err
	}, "pcesvn")
	if err == nil && !(listed && named == 0 || !listed && named == 16) {
		err = r.errorf("want 16 SGX components, in one of the two forms")
	}
	return err
}

func (r *reader) components(c *[16]uint8) error {
	count := 0
	err := r.array(func(i int) error {
		if count = i + 1; i >= len(c) {
			return r.errorf("more than %d components", len(c))
		}
		return r.object(func(key []byte) error {
			if string(key) != "svn" {
				return r.skip()
			}
			n, err := r.number(0xff)
			c[i] = uint8(n)
			return err
		}, "svn")
	})
	if err == nil && count != len(c) {
		err = r.errorf("%d components, want %d", count, len(c))
	}
	return err
}

func (r *reader) tdxModule(m *TDXModule, id *string, levels *[]EnclaveLevel) error {
	required := []string{"mrsigner", "attributes", "attributesMask"}
	if id != nil {
		required = append(required, "id", "tcbLevels")
	}
	return r.object(func(key []byte) (err error) {
		switch k := string(key); {
		case k == "mrsigner":
			err = r.hex(m.MRSigner[:])
		case k == "attributes":
			err = r.hex(m.Attributes[:])
		case k == "attributesMask":
			err = r.hex(m.AttributesMask[:])
		case k == "id" && id != nil:
			*id, err = r.str()
		case k == "tcbLevels" && levels != nil:
			*levels, err = r.enclaveLevels()
		default:
			return r.skip()
		}
		return err
	}, required...)
}

// MarshalJSON writes the body in Intel's form of t.Version.
func (t *TCBInfo) MarshalJSON() ([]byte, error) {
	var b []byte
	if t.Version >= 3 {
		b = fmt.Appendf(b, `{"id":%s,`, jsonString(t.ID))
	} else {
		b = append(b, '{')
	}
	b = fmt.Appendf(b, `"version":%d,"issueDate":%q,"nextUpdate":%q,"fmspc":"%X","pceId":"%X","tcbType":%d,"tcbEvaluationDataNumber":%d`,
		t.Version, jsonDate(t.IssueDate), jsonDate(t.NextUpdate), t.FMSPC[:], t.PCEID[:], t.TCBType, t.EvaluationData)
	if m := t.Module; m != nil {
		b = append(b, `,"tdxModule":{`...)
		b = append(m.appendJSON(b), '}')
	}
	if len(t.Modules) > 0 {
		b = append(b, `,"tdxModuleIdentities":[`...)
		for i, m := range t.Modules {
			if i > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, `{"id":%s,`, jsonString(m.ID))
			b = m.TDXModule.appendJSON(b)
			b = append(appendLevels(append(b, ','), m.Levels), '}')
		}
		b = append(b, ']')
	}
	b = append(b, `,"tcbLevels":[`...)
	for i, l := range t.Levels {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"tcb":{`...)
		if t.Version >= 3 {
			b = appendComponents(b, "sgxtcbcomponents", l.SGX)
		} else {
			for i, n := range l.SGX {
				if i > 0 {
					b = append(b, ',')
				}
				b = fmt.Appendf(b, `"sgxtcbcomp%02dsvn":%d`, i+1, n)
			}
		}
		b = fmt.Appendf(b, `,"pcesvn":%d`, l.PCESVN)
		if l.TDX != nil {
			b = appendComponents(append(b, ','), "tdxtcbcomponents", *l.TDX)
		}
		b = append(appendRow(append(b, '}'), l.Date, l.Status, l.Advisories), '}')
	}
	return append(b, `]}`...), nil
}

func (m *TDXModule) appendJSON(b []byte) []byte {
	return fmt.Appendf(b, `"mrsigner":"%X","attributes":"%X","attributesMask":"%X"`, m.MRSigner[:], m.Attributes[:], m.AttributesMask[:])
}

func appendComponents(b []byte, name string, c [16]uint8) []byte {
	b = fmt.Appendf(b, `%q:[`, name)
	for i, n := range c {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"svn":%d}`, n)
	}
	return append(b, ']')
}

// String names the level by its numbers, for messages.
func (l *TCBLevel) String() string {
	s := "SVNs " + hex.EncodeToString(l.SGX[:])
	if l.TDX != nil {
		s += ", TDX SVNs " + hex.EncodeToString(l.TDX[:])
	}
	return fmt.Sprintf("%s, PCESVN %d, %s of %s", s, l.PCESVN, l.Status, l.Date.Format(time.DateOnly))
}
