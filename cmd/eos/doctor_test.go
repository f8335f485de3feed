package main

import (
	"bytes"
	"testing"
)

// A machine that lacks something is not to be had for a story.
func TestPrintDiagnosis(t *testing.T) {
	d := diagnosis{
		Platforms: []platformDiagnosis{
			{Name: "software", Supported: true, Checks: []check{
				{Name: "FSGSBASE", Needed: true, OK: true, Detail: "programs can set the bases"},
				{Name: "dispatch", Needed: true, Detail: "not allowed", Fix: "use Linux 5.11 or newer"},
				{Name: "CPUID faulting", Detail: "CPUID faults in part"},
			}},
			{Name: "hardware", Usable: true, Checks: []check{}},
		},
	}
	var out bytes.Buffer
	if err := printDiagnosis(&ui{stdout: &out}, d); err != nil {
		t.Fatal(err)
	}
	const want = `software platform: does not work here
  ok       FSGSBASE        programs can set the bases
  missing  dispatch        not allowed
                           fix: use Linux 5.11 or newer
  lacks    CPUID faulting  CPUID faults in part

hardware platform: the machine has what it needs (this version of eos does not run enclaves on it)

--platform auto picks none: no enclave can run here
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
