package quoting

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/issue"
	"github.com/enclaveos/eos/pkg/ijson"
)

// TCBFile, if it is in the device's directory, says in JSON what the documents
// say of this machine, so that a client can be tried with every status; its
// content is a TCB. Without the file everything is up to date.
const TCBFile = "tcb.json"

// TCB is what the vendor says of a machine and of its quoting enclave. The words
// of the statuses are Intel's; an empty one is UpToDate. With any other status a
// newer level is there which the machine has not reached.
type TCB struct {
	Status       string   `json:"status"`
	Advisories   []string `json:"advisories,omitempty"`
	QEStatus     string   `json:"qe_status,omitempty"`
	QEAdvisories []string `json:"qe_advisories,omitempty"`
	// RevokedPCK puts the PCK certificate on the CRL, RevokedCA the platform CA's.
	RevokedPCK bool `json:"revoked_pck,omitempty"`
	RevokedCA  bool `json:"revoked_ca,omitempty"`
}

var statuses = []string{
	issue.UpToDate, issue.SWHardeningNeeded, issue.ConfigurationNeeded, issue.ConfigurationAndSWHardeningNeeded,
	issue.OutOfDate, issue.OutOfDateConfigurationNeeded, issue.StatusRevoked,
}

// qeStatuses are those that Intel gives to a quoting enclave: it has nothing to
// configure.
var qeStatuses = []string{issue.UpToDate, issue.OutOfDate, issue.StatusRevoked}

// ParseTCB reads the content of TCBFile.
func ParseTCB(b []byte) (TCB, error) {
	var t TCB
	if err := ijson.Unmarshal(b, &t); err != nil {
		return TCB{}, err
	}
	if t.Status != "" && !slices.Contains(statuses, t.Status) {
		return TCB{}, fmt.Errorf("%q is no status; these are: %q", t.Status, statuses)
	}
	if t.QEStatus != "" && !slices.Contains(qeStatuses, t.QEStatus) {
		return TCB{}, fmt.Errorf("%q is no status of a quoting enclave; these are: %q", t.QEStatus, qeStatuses)
	}
	return t, nil
}

// maxTCBFile bounds TCBFile in bytes.
const maxTCBFile = 64 << 10

func (q *Quoter) tcb() (TCB, error) {
	path := filepath.Join(q.dir, TCBFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return TCB{}, nil
	}
	if err != nil {
		return TCB{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTCBFile+1))
	if err != nil {
		return TCB{}, err
	}
	if len(b) > maxTCBFile {
		return TCB{}, fmt.Errorf("%s: more than %d bytes", path, maxTCBFile)
	}
	t, err := ParseTCB(b)
	if err != nil {
		return TCB{}, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// How long documents are valid, which is what Intel has, and how old they may be
// when they are handed out.
const (
	validity   = 30 * 24 * time.Hour
	reissueAge = 12 * time.Hour
)

// issued is the last collateral, for whom it was made, and when.
type issued struct {
	tcb        []byte
	at         time.Time
	collateral *attest.Collateral
}

// Collateral is what a verifier wants with the quotes of this machine. It was
// issued less than a day ago. The caller must not change it.
func (q *Quoter) Collateral() (*attest.Collateral, error) {
	t, err := q.tcb()
	if err != nil {
		return nil, fmt.Errorf("quoting enclave: %w", err)
	}
	id, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now().UTC().Truncate(time.Second)
	if age := now.Sub(q.issued.at); q.issued.collateral == nil || !bytes.Equal(id, q.issued.tcb) || age < 0 || age > reissueAge {
		c, err := q.issue(t, now)
		if err != nil {
			return nil, fmt.Errorf("quoting enclave: %w", err)
		}
		q.issued = issued{id, now, c}
	}
	return q.issued.collateral, nil
}

// newLevels is when the levels of this program's device and quoting enclave came.
var newLevels = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (q *Quoter) issue(t TCB, now time.Time) (*attest.Collateral, error) {
	begin, end := now, now.Add(validity)
	h := q.keys.hierarchy()
	tcb := issue.TCBInfo{IssueDate: begin, NextUpdate: end, EvaluationNumber: 1}
	copy(tcb.FMSPC[:], FMSPC)
	have := issue.TCBLevel{SGX: q.device.CPUSVN(), PCESVN: isvSVN, Date: newLevels, Status: t.Status, Advisories: t.Advisories}
	if have.Status == "" {
		have.Status = issue.UpToDate
	}
	if have.Status != issue.UpToDate {
		newest := issue.TCBLevel{SGX: have.SGX, PCESVN: isvSVN, Date: newLevels, Status: issue.UpToDate}
		newest.SGX[0]++
		tcb.Levels = append(tcb.Levels, newest)
	}
	tcb.Levels = append(tcb.Levels, have)

	s := q.qe.e.SECS()
	qe := issue.QEIdentity{
		IssueDate: begin, NextUpdate: end, EvaluationNumber: 1, MiscSelectMask: [4]byte{0xff, 0xff, 0xff, 0xff},
		Attributes: [16]byte{0x11}, AttributesMask: [16]byte{0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, // as Intel's: all but MODE64BIT
		MRSigner: s.MRSigner, ISVProdID: qeProdID,
	}
	level := issue.ISVLevel{ISVSVN: isvSVN, Date: newLevels, Status: t.QEStatus, Advisories: t.QEAdvisories}
	if level.Status == "" {
		level.Status = issue.UpToDate
	}
	if level.Status != issue.UpToDate {
		qe.Levels = append(qe.Levels, issue.ISVLevel{ISVSVN: isvSVN + 1, Date: newLevels, Status: issue.UpToDate})
	}
	qe.Levels = append(qe.Levels, level)

	c := &attest.Collateral{TCBInfoChain: h.TCBChain(), QEIdentityChain: h.TCBChain(), PCKCRLChain: h.CRLChain()}
	for _, d := range []struct {
		to   *attest.SignedJSON
		json func() ([]byte, error)
	}{{&c.TCBInfo, tcb.JSON}, {&c.QEIdentity, qe.JSON}} {
		var err error
		if d.to.Body, err = d.json(); err != nil {
			return nil, err
		}
		if d.to.Signature, err = h.TCBSigner.Sign(d.to.Body); err != nil {
			return nil, err
		}
	}
	var revokedPCK, revokedCA []issue.Revoked
	if t.RevokedPCK {
		revokedPCK = append(revokedPCK, issue.Revoked{Serial: q.keys.pck.Cert.SerialNumber, At: begin})
	}
	if t.RevokedCA {
		revokedCA = append(revokedCA, issue.Revoked{Serial: q.keys.ca.Cert.SerialNumber, At: begin})
	}
	var err error
	if c.PCKCRL, err = h.CA.CRL(begin, end, revokedPCK...); err != nil {
		return nil, err
	}
	c.RootCRL, err = h.Root.CRL(begin, end, revokedCA...)
	return c, err
}
