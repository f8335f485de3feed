package issue

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// The members that the documents are in, as Intel's service sends them.
const (
	MemberTCBInfo    = "tcbInfo"
	MemberQEIdentity = "enclaveIdentity"
)

// The words of tcbStatus.
const (
	UpToDate                          = "UpToDate"
	SWHardeningNeeded                 = "SWHardeningNeeded"
	ConfigurationNeeded               = "ConfigurationNeeded"
	ConfigurationAndSWHardeningNeeded = "ConfigurationAndSWHardeningNeeded"
	OutOfDate                         = "OutOfDate"
	OutOfDateConfigurationNeeded      = "OutOfDateConfigurationNeeded"
	StatusRevoked                     = "Revoked"
)

// Sign signs the bytes of a document: r and s, big endian.
func (i *Identity) Sign(body []byte) (sig [64]byte, err error) {
	b, err := signRaw(i.Key, body)
	copy(sig[:], b)
	return sig, err
}

// Wrap makes what Intel's service answers with:
//
//	{"member":body,"signature":"r and s in hex"}
func Wrap(member string, body []byte, sig [64]byte) []byte {
	b := append([]byte(`{"`+member+`":`), body...)
	return append(b, `,"signature":"`+hex.EncodeToString(sig[:])+`"}`...)
}

// date is a time as the documents have it.
func date(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// upperHex is how the documents write bytes.
func upperHex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

// TCBInfo is what is known of one kind of machine (FMSPC).
type TCBInfo struct {
	TDX                   bool // else SGX
	IssueDate, NextUpdate time.Time
	FMSPC                 [6]byte
	PCEID                 [2]byte
	EvaluationNumber      int
	Levels                []TCBLevel // newest first
	Modules               []TDXModule
}

// TCBLevel is a level of TCBInfo: what a machine must have at least.
type TCBLevel struct {
	SGX        [16]uint8
	PCESVN     uint16
	TDX        [16]uint8 // of TDX only
	Date       time.Time
	Status     string
	Advisories []string
}

// TDXModule is a TDX module that may be used.
type TDXModule struct {
	Version    uint8 // 0: the module that has no identity of its own
	MRSigner   [48]byte
	Attributes [8]byte
	Mask       [8]byte
	Levels     []ISVLevel
}

// ISVLevel is a level of an enclave or a module: the ISVSVN it must have at
// least.
type ISVLevel struct {
	ISVSVN     uint16
	Date       time.Time
	Status     string
	Advisories []string
}

type (
	jsonComponent struct {
		SVN uint8 `json:"svn"`
	}
	jsonTCB struct {
		SGX    []jsonComponent `json:"sgxtcbcomponents"`
		PCESVN uint16          `json:"pcesvn"`
		TDX    []jsonComponent `json:"tdxtcbcomponents,omitempty"`
	}
	jsonLevel struct {
		TCB        any      `json:"tcb"`
		Date       string   `json:"tcbDate"`
		Status     string   `json:"tcbStatus"`
		Advisories []string `json:"advisoryIDs,omitempty"`
	}
	jsonModule struct {
		ID         string      `json:"id,omitempty"`
		MRSigner   string      `json:"mrsigner"`
		Attributes string      `json:"attributes"`
		Mask       string      `json:"attributesMask"`
		Levels     []jsonLevel `json:"tcbLevels,omitempty"`
	}
	jsonTCBInfo struct {
		ID         string       `json:"id"`
		Version    int          `json:"version"`
		IssueDate  string       `json:"issueDate"`
		NextUpdate string       `json:"nextUpdate"`
		FMSPC      string       `json:"fmspc"`
		PCEID      string       `json:"pceId"`
		TCBType    int          `json:"tcbType"`
		Number     int          `json:"tcbEvaluationDataNumber"`
		Module     *jsonModule  `json:"tdxModule,omitempty"`
		Modules    []jsonModule `json:"tdxModuleIdentities,omitempty"`
		Levels     []jsonLevel  `json:"tcbLevels"`
	}
	jsonQEIdentity struct {
		ID             string      `json:"id"`
		Version        int         `json:"version"`
		IssueDate      string      `json:"issueDate"`
		NextUpdate     string      `json:"nextUpdate"`
		Number         int         `json:"tcbEvaluationDataNumber"`
		MiscSelect     string      `json:"miscselect"`
		MiscSelectMask string      `json:"miscselectMask"`
		Attributes     string      `json:"attributes"`
		AttributesMask string      `json:"attributesMask"`
		MRSigner       string      `json:"mrsigner"`
		ISVProdID      uint16      `json:"isvprodid"`
		Levels         []jsonLevel `json:"tcbLevels"`
	}
)

func components(svn [16]uint8) []jsonComponent {
	out := make([]jsonComponent, len(svn))
	for i, v := range svn {
		out[i].SVN = v
	}
	return out
}

func isvLevels(levels []ISVLevel) []jsonLevel {
	out := make([]jsonLevel, 0, len(levels))
	for _, l := range levels {
		tcb := struct {
			ISVSVN uint16 `json:"isvsvn"`
		}{l.ISVSVN}
		out = append(out, jsonLevel{tcb, date(l.Date), l.Status, l.Advisories})
	}
	return out
}

func (m *TDXModule) json(id string) jsonModule {
	return jsonModule{id, upperHex(m.MRSigner[:]), upperHex(m.Attributes[:]), upperHex(m.Mask[:]), isvLevels(m.Levels)}
}

// JSON is the document of version 3, to be signed.
func (t *TCBInfo) JSON() ([]byte, error) {
	d := jsonTCBInfo{
		ID: "SGX", Version: 3, IssueDate: date(t.IssueDate), NextUpdate: date(t.NextUpdate),
		FMSPC: upperHex(t.FMSPC[:]), PCEID: upperHex(t.PCEID[:]), Number: t.EvaluationNumber, Levels: []jsonLevel{},
	}
	for _, l := range t.Levels {
		tcb := jsonTCB{SGX: components(l.SGX), PCESVN: l.PCESVN}
		if t.TDX {
			tcb.TDX = components(l.TDX)
		}
		d.Levels = append(d.Levels, jsonLevel{tcb, date(l.Date), l.Status, l.Advisories})
	}
	if t.TDX {
		d.ID = "TDX"
		for _, m := range t.Modules {
			if m.Version == 0 {
				j := m.json("")
				d.Module = &j
				continue
			}
			d.Modules = append(d.Modules, m.json("TDX_"+upperHex([]byte{m.Version})))
		}
	}
	return json.Marshal(d)
}

// QEIdentity is which enclaves may sign attestation keys.
type QEIdentity struct {
	TDX                        bool // TD_QE, else QE
	IssueDate, NextUpdate      time.Time
	EvaluationNumber           int
	MiscSelect, MiscSelectMask [4]byte
	Attributes, AttributesMask [16]byte
	MRSigner                   [32]byte
	ISVProdID                  uint16
	Levels                     []ISVLevel // newest first
}

// JSON is the document of version 2, to be signed.
func (q *QEIdentity) JSON() ([]byte, error) {
	d := jsonQEIdentity{
		ID: "QE", Version: 2, IssueDate: date(q.IssueDate), NextUpdate: date(q.NextUpdate), Number: q.EvaluationNumber,
		MiscSelect: upperHex(q.MiscSelect[:]), MiscSelectMask: upperHex(q.MiscSelectMask[:]),
		Attributes: upperHex(q.Attributes[:]), AttributesMask: upperHex(q.AttributesMask[:]),
		MRSigner: upperHex(q.MRSigner[:]), ISVProdID: q.ISVProdID, Levels: isvLevels(q.Levels),
	}
	if q.TDX {
		d.ID = "TD_QE"
	}
	return json.Marshal(d)
}
