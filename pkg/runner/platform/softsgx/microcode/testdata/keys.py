#!/usr/bin/env python3
"""Makes the values of TestKeyVectors by another road: HKDF from Python's hmac,
AES-CMAC from the openssl command. Run it and compare."""
import hashlib, hmac, struct, subprocess

seed = bytes([9] + [0] * 31)


def hkdf(label, n):
    prk = hmac.new(bytes(32), seed, hashlib.sha256).digest()
    out, t, i = b"", b"", 1
    while len(out) < n:
        t = hmac.new(prk, t + label + bytes([i]), hashlib.sha256).digest()
        out, i = out + t, i + 1
    return out[:n]


def cmac(key, data):
    return subprocess.run(["openssl", "mac", "-cipher", "AES-128-CBC", "-macopt", "hexkey:" + key.hex(), "CMAC"],
                          input=data, capture_output=True, check=True).stdout.decode().strip().lower()


root = hkdf(b"eos software sgx: root key", 16)
fuses = hkdf(b"eos software sgx: seal fuses", 16)
pad = lambda n, *b: bytes(b) + bytes(n - len(b))
every = (1 << 64) - 1
INIT, MODE64, PROVISION, EINITTOKEN, KSS = 1, 4, 16, 32, 128
attributes = struct.pack("<QQ", INIT | MODE64 | PROVISION | EINITTOKEN | KSS, 3)
epoch = pad(16, 4)
zero16, zero32, zero64 = bytes(16), bytes(32), bytes(64)
mrenclave, mrsigner, configid = pad(32, 1), pad(32, 2), pad(64, 3)
family, extprod = pad(16, 7), pad(16, 8)
keyid, svn, devsvn = pad(32, 1), pad(16, 2, 2), pad(16, 3, 3)


def block(name, prod, isvsvn, cfgsvn, epoch, mask, mre, mrs, keyid, fuses, svn, policy, cfg, fam, ext):
    b = struct.pack("<HHHH", name, prod, isvsvn, cfgsvn) + epoch + attributes + mask + mre + mrs + keyid + fuses + svn
    b += struct.pack("<IIHBB", 1, 0, policy, 4, 0) + bytes(4) + cfg + fam + ext
    assert len(b) == 296
    return b


full = struct.pack("<QQ", every, every)
for b in [
    block(0, 4, 5, 0, epoch, zero16, zero32, mrsigner, keyid, fuses, svn, 0, zero64, zero16, zero16),
    block(1, 4, 5, 0, zero16, full, zero32, mrsigner, zero32, zero16, svn, 0, zero64, zero16, zero16),
    block(2, 4, 5, 6, zero16, full, zero32, mrsigner, zero32, fuses, svn, 0x3b, configid, family, extprod),
    block(3, 0, 0, 60, epoch, zero16, mrenclave, zero32, keyid, fuses, devsvn, 0, configid, zero16, zero16),
    block(4, 4, 5, 6, epoch, full, mrenclave, mrsigner, keyid, fuses, svn, 0x3b, configid, family, extprod),
]:
    print(cmac(root, b))
