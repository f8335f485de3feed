package edp

import (
	"os"
	"strings"
)

// cpuid is the instruction.
//
//go:noescape
func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)

// tscFrequency returns the rate of the time stamp counter in Hz, or zero unless
// it is constant, the kernel keeps time by it, and the processor tells the
// rate (SDM vol. 3B 18.7.3).
func tscFrequency() uint64 {
	source, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	if err != nil || strings.TrimSpace(string(source)) != "tsc" {
		return 0
	}
	const invariantTSC = 1 << 8
	maxExt, _, _, _ := cpuid(0x80000000, 0)
	if maxExt < 0x80000007 {
		return 0
	}
	if _, _, _, edx := cpuid(0x80000007, 0); edx&invariantTSC == 0 {
		return 0
	}
	maxLeaf, _, _, _ := cpuid(0, 0)
	var leaf15 [3]uint32
	var baseMHz uint32
	if maxLeaf >= 0x15 {
		leaf15[0], leaf15[1], leaf15[2], _ = cpuid(0x15, 0)
	}
	if maxLeaf >= 0x16 {
		baseMHz, _, _, _ = cpuid(0x16, 0)
	}
	return tscRate(leaf15, baseMHz&0xffff)
}

// tscRate computes the rate from CPUID leaf 15H (denominator, numerator,
// crystal in Hz) or else from the base frequency of leaf 16H in MHz.
func tscRate(leaf15 [3]uint32, baseMHz uint32) uint64 {
	if leaf15[0] != 0 && leaf15[1] != 0 && leaf15[2] != 0 {
		return uint64(leaf15[2]) * uint64(leaf15[1]) / uint64(leaf15[0])
	}
	return uint64(baseMHz) * 1e6
}
