"""The hashes of TensorFlow, bit for bit, on Python's integers."""

from __future__ import annotations


def low64(x):
    return x & 0xFFFFFFFFFFFFFFFF


def rotated(x, bits):
    return low64(low64(x) >> bits | low64(x) << (64 - bits))


def folded(x):
    return low64(x) ^ low64(x) >> 47


def word(data, at, size=8):
    return int.from_bytes(data[at : at + size], "little")


def mixed_pair(u, v, factor):
    a = folded(low64(u ^ v) * factor)
    return low64(folded((low64(v) ^ a) * factor) * factor)


def mixed_words(data, at, a, b):
    """Two numbers mixed with 32 bytes."""
    w, x, y, z = (word(data, at + 8 * i) for i in range(4))
    a += w
    b = rotated(b + a + z, 21)
    total = a + x + y
    return low64(total + z), low64(b + rotated(total, 44) + a)


def mixed_block(data, at, x, y, z, v, w, factor, weight):
    """The five states after 64 bytes."""
    x = low64(rotated(x + y + v[0] + word(data, at + 8), 37) * factor) ^ low64(w[1] * weight)
    y = rotated(y + v[1] + word(data, at + 48), 42) * factor + v[0] * weight + word(data, at + 40)
    z = rotated(z + w[0], 33) * factor
    v = mixed_words(data, at, v[1] * factor, x + w[0])
    w = mixed_words(data, at + 32, z + w[1], y + word(data, at + 16))
    return low64(z), low64(y), x, v, w


def fingerprint64(data):
    """FarmHash's Fingerprint64 of bytes (farmhash.cc, farmhashna::Hash64), as in tf.strings.to_hash_bucket_fast."""
    k0, k1, k2, n = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F, len(data)
    factor = k2 + 2 * n
    if n == 0:
        return k2
    if n < 4:
        return low64(folded((data[0] + (data[n // 2] << 8)) * k2 ^ (n + (data[-1] << 2)) * k0) * k2)
    if n < 8:
        return mixed_pair(n + (word(data, 0, 4) << 3), word(data, n - 4, 4), factor)
    if n <= 16:
        a, b = word(data, 0) + k2, word(data, n - 8)
        return mixed_pair(rotated(b, 37) * factor + a, (rotated(a, 25) + b) * factor, factor)
    if n <= 64:
        a, b = word(data, 0) * (k1 if n <= 32 else k2), word(data, 8)
        c, d = word(data, n - 8) * factor, word(data, n - 16) * k2
        y = rotated(a + b, 43) + rotated(c, 30) + d
        z = mixed_pair(y, a + rotated(b + k2, 18) + c, factor)
        if n <= 32:
            return z
        e, f = word(data, 16) * factor, word(data, 24)
        g, h = (y + word(data, n - 32)) * factor, (z + word(data, n - 24)) * factor
        return mixed_pair(rotated(e + f, 43) + rotated(g, 30) + h, e + rotated(f + a, 18) + g, factor)
    y = low64(81 * k1 + 113)
    x, z, v, w = 81 * k2 + word(data, 0), low64(folded(y * k2 + 113) * k2), (0, 0), (0, 0)
    for at in range(0, (n - 1) // 64 * 64, 64):
        x, y, z, v, w = mixed_block(data, at, x, y, z, v, w, k1, 1)
    factor = k1 + ((z & 255) << 1)
    first = w[0] + (n - 1) % 64
    v = (v[0] + first, v[1])
    x, y, z, v, w = mixed_block(data, n - 64, x, y, z, v, (first + v[0], w[1]), factor, 9)
    left = mixed_pair(v[0], w[0], factor) + folded(y) * k0 + z
    return mixed_pair(left, mixed_pair(v[1], w[1], factor) + x, factor)


def sip_rounds(a, b, c, d, count):
    """Rounds of SipHash over its four states."""
    for _ in range(count):
        a, c = low64(a + b), low64(c + d)
        b, d = rotated(b, 51) ^ a, rotated(d, 48) ^ c
        a, c = low64(rotated(a, 32) + d), low64(c + b)
        b, d = rotated(b, 47) ^ c, rotated(d, 43) ^ a
        c = rotated(c, 32)
    return a, b, c, d


def siphash64(data, key):
    """SipHash-2-4 of bytes with a key of two integers, as in tf.strings.to_hash_bucket_strong."""
    k0, k1 = (low64(k) for k in key)
    a, b = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    c, d = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573
    whole = len(data) // 8 * 8
    words = [word(data, at) for at in range(0, whole, 8)] + [word(data, whole) | low64(len(data) << 56)]
    for m in words:
        a, b, c, d = sip_rounds(a, b, c, d ^ m, 2)
        a ^= m
    a, b, c, d = sip_rounds(a, b, c ^ 255, d, 4)
    return a ^ b ^ c ^ d


def text_bucket(text, buckets, salt):
    """The bucket of a string: by SipHash where there is a salt, by FarmHash where there is none."""
    data = text.encode()
    return (fingerprint64(data) if salt is None else siphash64(data, salt)) % buckets


def crossed(first, second):
    """Two hashes as one (TensorFlow's FingerprintCat64, tsl/platform/fingerprint.h)."""
    factor = 0xC6A4A7935BD1E995
    x = low64(first ^ factor ^ low64(folded(second * factor) * factor))
    return folded(folded(x * factor) * factor)
