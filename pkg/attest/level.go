package attest

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// matchQE checks that the quoting enclave is the one that the QE identity
// describes, and keeps its level.
func (r *Result) matchQE(e *endorsement) *Error {
	q, id := r.Quote, e.qeID
	if id == nil {
		return nil
	}
	want := "QE"
	if q.TEE == TDX {
		want = "TD_QE"
	}
	if id.ID != want {
		return &Error{What: "kind of the QE identity", Want: want, Got: id.ID, Hint: "fetch the QE identity for SGX or TDX as the quote is"}
	}
	if e.pin != nil && e.pin.name == IntelRootName && q.QEVendorID != intelQEVendor {
		return &Error{What: "QE vendor id", Want: hex.EncodeToString(intelQEVendor[:]) + " (Intel)", Got: hex.EncodeToString(q.QEVendorID[:])}
	}
	var attributes [16]byte
	le.PutUint64(attributes[:], uint64(q.QEReport.Attributes.Flags))
	le.PutUint64(attributes[8:], uint64(q.QEReport.Attributes.XFRM))
	for i := range attributes {
		attributes[i] &= id.AttributesMask[i]
	}
	misc := uint32(q.QEReport.MiscSelect) & id.MiscSelectMask
	hint := "the quote was not made by the quoting enclave that the QE identity describes"
	switch {
	case q.QEReport.MRSigner != id.MRSigner:
		return &Error{What: "MRSIGNER of the QE", Want: hex.EncodeToString(id.MRSigner[:]), Got: q.QEReport.MRSigner.String(), Hint: hint}
	case q.QEReport.ISVProdID != id.ISVProdID:
		return &Error{What: "ISVPRODID of the QE", Want: fmt.Sprint(id.ISVProdID), Got: fmt.Sprint(q.QEReport.ISVProdID), Hint: hint}
	case attributes != id.Attributes:
		return &Error{What: "ATTRIBUTES of the QE under the mask", Want: hex.EncodeToString(id.Attributes[:]), Got: hex.EncodeToString(attributes[:]), Hint: hint}
	case misc != id.MiscSelect:
		return &Error{What: "MISCSELECT of the QE under the mask", Want: fmt.Sprintf("%#x", id.MiscSelect), Got: fmt.Sprintf("%#x", misc), Hint: hint}
	}
	facts := matchEnclave(id.ID, q.QEReport.ISVSVN, id.Levels)
	if facts == nil {
		return &Error{What: "no level of the QE identity matches", Want: fmt.Sprintf("ISVSVN at least %d", id.Levels[len(id.Levels)-1].ISVSVN),
			Got: fmt.Sprint(q.QEReport.ISVSVN), Hint: "the quoting enclave is older than any that is supported; update the platform"}
	}
	if slices.Contains(r.Passed, StepQEReport) {
		r.QE = facts
	}
	return nil
}

// matchEnclave returns the first level that svn reaches, nil if it reaches
// none.
func matchEnclave(id string, svn uint16, levels []EnclaveLevel) *EnclaveFacts {
	for i, l := range levels {
		if svn >= l.ISVSVN {
			return &EnclaveFacts{ID: id, ISVSVN: svn, Matched: l.clone(), Newest: levels[0].clone(), Index: i, Levels: len(levels)}
		}
	}
	return nil
}

// level does StepTDXModule and StepTCBLevel, and merges the statuses. The
// rules are those of Intel's PCS documentation, "Get TCB Info", and of its
// quote verification library.
func (r *Result) level(e *endorsement) {
	if e.tcbInfo == nil || e.pck == nil || r.ofPlatform(e) != nil {
		return
	}
	if r.Quote.TEE == TDX {
		r.settle(StepTDXModule, r.matchModule(e.tcbInfo))
	}
	i := slices.IndexFunc(e.tcbInfo.Levels, func(l TCBLevel) bool { return reaches(e.pck, r.Quote.TD, &l) })
	if i < 0 {
		oldest := e.tcbInfo.Levels[len(e.tcbInfo.Levels)-1]
		got := fmt.Sprintf("SVNs %x, PCESVN %d", e.pck.TCB[:], e.pck.PCESVN)
		if r.Quote.TD != nil {
			got += fmt.Sprintf(", TDX SVNs %x", r.Quote.TD.TEETCBSVN[:])
		}
		r.settle(StepTCBLevel, &Error{What: "no TCB level matches", Want: "at least " + oldest.String(), Got: got,
			Hint: "the platform is older than any that is supported; update it"})
		return
	}
	levels := e.tcbInfo.Levels
	r.Platform = &PlatformFacts{Matched: levels[i].clone(), Newest: levels[0].clone(), Index: i, Levels: len(levels)}
	r.merge()
}

// clone returns a copy: what a verifier remembers is not for callers to change.
func (l *TCBLevel) clone() TCBLevel {
	c := *l
	c.Advisories = slices.Clone(l.Advisories)
	if l.TDX != nil {
		tdx := *l.TDX
		c.TDX = &tdx
	}
	return c
}

func (l *EnclaveLevel) clone() EnclaveLevel {
	c := *l
	c.Advisories = slices.Clone(l.Advisories)
	return c
}

// reaches says whether every SVN of the platform is at least that of the
// level. The first two SVNs of a TD's TCB are the module's when modules have
// versions; matchModule compares those.
func reaches(pck *PCKExtensions, td *TDReport, l *TCBLevel) bool {
	for i, svn := range l.SGX {
		if pck.TCB[i] < svn {
			return false
		}
	}
	if pck.PCESVN < l.PCESVN {
		return false
	}
	if td == nil {
		return true
	}
	first := 0
	if td.TEETCBSVN[1] > 0 {
		first = 2
	}
	for i := first; i < len(l.TDX); i++ {
		if td.TEETCBSVN[i] < l.TDX[i] {
			return false
		}
	}
	return true
}

// matchModule checks that the TDX module is one that TCB info describes, and
// keeps its level.
func (r *Result) matchModule(t *TCBInfo) *Error {
	td, m, id := r.Quote.TD, t.Module, "tdxModule"
	var levels []EnclaveLevel
	if version := td.TEETCBSVN[1]; version > 0 {
		id = fmt.Sprintf("TDX_%02X", version)
		i := slices.IndexFunc(t.Modules, func(m TDXModuleIdentity) bool { return strings.EqualFold(m.ID, id) })
		if i < 0 {
			var known []string
			for _, m := range t.Modules {
				known = append(known, m.ID)
			}
			return &Error{What: "version of the TDX module", Want: "one of " + strings.Join(known, ", "), Got: id}
		}
		m, levels = &t.Modules[i].TDXModule, t.Modules[i].Levels
	}
	if td.MRSignerSEAM != m.MRSigner {
		return &Error{What: "MRSIGNERSEAM of " + id, Want: hex.EncodeToString(m.MRSigner[:]), Got: hex.EncodeToString(td.MRSignerSEAM[:])}
	}
	var masked [8]byte
	for i := range masked {
		masked[i] = td.SEAMAttributes[i] & m.AttributesMask[i]
	}
	// No SEAM attribute is defined: Intel's library wants them zero as well.
	if masked != m.Attributes || td.SEAMAttributes != [8]byte{} {
		return &Error{What: "SEAMATTRIBUTES of " + id, Want: hex.EncodeToString(m.Attributes[:]), Got: hex.EncodeToString(td.SEAMAttributes[:])}
	}
	if td.TEETCBSVN[1] == 0 {
		return nil
	}
	if r.Module = matchEnclave(id, uint16(td.TEETCBSVN[0]), levels); r.Module == nil {
		return &Error{What: "no level of " + id + " matches", Want: "an SVN of a level", Got: fmt.Sprint(td.TEETCBSVN[0]),
			Hint: "the TDX module is older than any that is supported; update it"}
	}
	return nil
}

// merge makes one status of three, and settles StepTCBLevel.
func (r *Result) merge() {
	status := r.Platform.Matched.Status
	add := func(ids []string) {
		for _, id := range ids {
			if !slices.Contains(r.Advisories, id) {
				r.Advisories = append(r.Advisories, id)
			}
		}
	}
	add(r.Platform.Matched.Advisories)
	for _, f := range []*EnclaveFacts{r.Module, r.QE} {
		if f != nil {
			status = converge(status, f.Matched.Status)
			add(f.Matched.Advisories)
		}
	}
	complete := len(r.Failures) == 0
	var err *Error
	if status == Revoked {
		err = &Error{What: "TCB level", Want: "any that is not revoked", Got: Revoked.String(), Hint: "Intel withdrew trust from this state of the platform; update it"}
	}
	r.settle(StepTCBLevel, err)
	if complete {
		r.Status = status
	}
}

// converge merges the status of a platform with that of a quoting enclave or
// TDX module on it. Those are UpToDate, OutOfDate or Revoked; any other word
// counts as OutOfDate, as it does in Intel's library.
func converge(platform, part TCBStatus) TCBStatus {
	switch part {
	case Revoked:
		return Revoked
	case UpToDate:
		return platform
	}
	switch platform {
	case UpToDate, SWHardeningNeeded:
		return OutOfDate
	case ConfigurationNeeded, ConfigurationAndSWHardeningNeeded:
		return OutOfDateConfigurationNeeded
	}
	return platform
}
