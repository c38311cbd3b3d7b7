#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Python's tiercel: objects, epochs, errors.

    tiercel_test.py [CLASS[.test]]...

PYTHONPATH names the folder with the package, BUILD/python. Other processes are in processes_test.py, asyncio is in async_test.py.
"""
import errno
import os
import pickle
import unittest

import numpy as np

import tiercel
from case import POOLS, Case


class Objects(Case):
    def test_a_mapping_is_written_and_read(self):
        cont = self.open()
        with cont.epoch() as e:
            kv = e.kv(7)
            kv["text"] = b"one"
            kv[b"\0\xff"] = bytearray(b"two")
            kv["large"] = memoryview(bytes(range(256)) * 1000)
            kv["empty"] = b""
            self.assertEqual(kv["text"], b"one", "what was written is read at once")
            self.assertNotIn("text", cont.kv(7), "and not by others")
        kv = cont.kv(7)
        self.assertEqual(list(kv), [b"\0\xff", b"empty", b"large", b"text"])
        self.assertEqual(dict(kv), {b"\0\xff": b"two", b"empty": b"", b"large": bytes(range(256)) * 1000, b"text": b"one"})
        self.assertEqual(len(kv), 4)
        self.assertIn("empty", kv)
        self.assertNotIn("other", kv)
        self.assertNotIn(3, kv)
        self.assertEqual(kv.get("other", b"none"), b"none")
        with self.assertRaises(KeyError):
            kv["other"]

    def test_a_mapping_is_changed(self):
        cont = self.open(noslip=True)
        with cont.epoch() as e:
            e.kv(1).update({"a": b"1", "b": b"2", "c": b"3"})
        with cont.epoch() as e:
            kv = e.kv(1)
            kv["a"] = np.arange(2, dtype="u1")
            del kv["b"]
            with self.assertRaises(KeyError):
                del kv["b"]
            with self.assertRaises(tiercel.Exists):
                kv.add("c", b"4")
            kv.add("d", b"5")
            self.assertEqual(kv.pop("c"), b"3")
        self.assertEqual(dict(cont.kv(1)), {b"a": b"\0\1", b"d": b"5"})
        self.assertEqual(dict(cont.at(1).kv(1)), {b"a": b"1", b"b": b"2", b"c": b"3"})
        with cont.epoch() as e:
            e.kv(1).clear()
        self.assertEqual(dict(cont.kv(1)), {})

    def test_many_keys_are_listed_whole(self):
        cont = self.open()
        keys = [f"key {i:05}".encode() for i in range(1000)]
        with cont.epoch() as e:
            kv = e.kv(1)
            for key in reversed(keys):
                kv[key] = key
        self.assertEqual(list(cont.kv(1)), keys)
        self.assertTrue(all(key == value for key, value in cont.kv(1).items()))

    def test_objects_have_numbers_of_128_bits(self):
        cont = self.open()
        oids = [1, 2**64 - 1, 2**64, 2**112 - 1]
        with cont.epoch() as e:
            for oid in oids:
                e.kv(oid)["number"] = b"%d" % oid
        self.assertEqual(list(cont.objects()), oids)
        self.assertEqual([int(cont.kv(oid)["number"]) for oid in oids], oids)
        self.assertEqual(cont.kv((1, 0))["number"], b"%d" % 2**64)
        for bad, kind in ((-1, OverflowError), (2**128, OverflowError), (1.5, TypeError), ("1", TypeError)):
            with self.subTest(oid=bad), self.assertRaises(kind):
                cont.kv(bad).get("number")

    def test_new_numbers_are_new(self):
        cont = self.open()
        first = cont.new_oid()
        many = cont.new_oid(100)
        self.assertGreater(many, first)
        self.assertGreaterEqual(cont.new_oid(), many + 100)

    def test_a_container_is_copied(self):
        cont = self.open(noslip=True)
        for value in (b"one", b"two"):
            with cont.epoch() as e:
                e.kv(1)["k"] = value
        pool = self.connect()
        with self.assertRaises(tiercel.Exists):
            cont.copy(pool, cont.info.label)
        uuid = cont.copy(pool, "copy")
        with pool.open("copy", "r") as copy:
            self.assertEqual(copy.info.uuid, uuid)
            self.assertEqual([copy.at(epoch).kv(1)["k"] for epoch in (1, 2)], [b"one", b"two"])

    @unittest.skipIf(POOLS, "this is about pools in directories")
    def test_a_directory_has_no_size_and_no_hosts(self):
        for option in ({"size": 1 << 30}, {"nodes": ["h1", "h2"]}, {"classes": ["RP_3"]}):
            with self.assertRaisesRegex(OSError, "director"):
                tiercel.create(self.uri + "-sized", **option)
        self.assertFalse(os.path.exists(self.uri + "-sized"))

    @unittest.skipIf(POOLS, "this is about pools in directories")
    def test_objects_have_classes(self):
        pool = self.connect()
        self.assertEqual(pool.classes, ["S"])
        for wrong in ("EC_2P1", "copper"):
            with self.assertRaisesRegex(OSError, wrong):
                pool.create("refused", object_class=wrong)
        self.assertEqual(pool.containers, [])
        pool.create("c", object_class="S")
        self.assertEqual(pool.cont_get_prop("c", "class"), "S")
        with pool.open("c") as cont:
            oid = cont.new_oid(object_class="S")
            self.assertEqual(oid >> 112, 0x0101)
            self.assertEqual(tiercel.oid_of_class(oid, "default"), oid & (1 << 64) - 1)
            self.assertEqual(tiercel.oid_of_class(5, "EC_2P1") >> 112, 0x8081)
            with self.assertRaisesRegex(ValueError, "copper"):
                cont.new_oid(object_class="copper")
            with cont.epoch() as e:
                e.kv(oid)["k"] = b"v"
                with self.assertRaisesRegex(OSError, "RP_3"):
                    e.kv(tiercel.oid_of_class(1, "RP_3"))["k"] = b"v"
            self.assertEqual(dict(cont.kv(oid)), {b"k": b"v"})
            self.assertEqual(list(cont.objects()), [oid])

    def test_attributes_are_a_mapping(self):
        cont = self.open()
        cont.attrs["unit"] = b"K"
        cont.attrs["empty"] = b""
        self.assertEqual(dict(cont.attrs), {"unit": b"K", "empty": b""})
        del cont.attrs["unit"]
        self.assertEqual(list(cont.attrs), ["empty"])
        for change in (lambda: cont.attrs["unit"], lambda: cont.attrs.pop("unit")):
            with self.assertRaises(KeyError):
                change()

    def test_a_pool_tells_what_is_in_it(self):
        pool = self.connect()
        uuid = pool.create("one")
        unnamed = pool.create()
        self.assertEqual({info.uuid: info.label for info in pool.containers}, {uuid: "one", unnamed: ""})
        self.assertEqual(pool.info.containers, 2)
        health = pool.wait()
        self.assertEqual(health.state, pool.info.health.state)
        if not self.uri.startswith("rados:"):
            self.assertEqual((health.state, health.map_version, health.targets_up, health.missing), ("healthy", 1, 1, 0))
            with self.assertRaises(tiercel.TimedOut):
                pool.wait(health, 0.05)
        self.assertEqual(os.path.realpath(pool.info.uri.removeprefix("file://")), os.path.realpath(self.uri))
        with pool.open(unnamed) as cont:
            self.assertEqual((cont.info.uuid, cont.info.handles), (unnamed, 1))
            self.assertIs(cont.pool, pool)
            cont.epoch_hold(3)
            handle, = pool.handles(unnamed)
            self.assertEqual((handle.writes, handle.noslip, handle.ended, handle.hce, handle.lre, handle.lhe),
                             (True, False, False, 0, 0, 3))
        self.assertEqual(pool.handles(unnamed), [])
        pool.rename("one", "two")
        self.assertEqual(pool.cont_get_prop(uuid, "label"), "two")
        with self.assertRaises(tiercel.Exists):
            pool.rename(unnamed, "two")
        pool.rename("two", "one")
        pool.destroy("one")
        self.assertEqual([info.uuid for info in pool.containers], [unnamed])
        damaged, findings = pool.check(True)
        self.assertEqual(damaged, 0, findings)

    def test_what_differs_between_epochs(self):
        cont = self.open(noslip=True)
        with cont.epoch() as e:
            e.kv(1)["a"] = b"1"
        with cont.epoch() as e:
            del e.kv(1)["a"]
            e.kv(2)["b"] = b"2"
        self.assertEqual([(c.oid, c.dkey, c.extent, c.before, c.after) for c in cont.diff(1, 2)],
                         [(1, b"a", None, True, False), (2, b"b", None, False, True)])


class Arrays(Case):
    def test_arrays_of_all_kinds_come_back_as_they_were(self):
        cont = self.open()
        record = np.dtype([("id", "<i4"), ("at", "<f8", (3,)), ("inner", [("x", ">u2")])])
        arrays = [np.arange(24.0).reshape(2, 3, 4), np.array(5), np.zeros((0, 7)), np.array([], dtype="i1"),
                  np.array([1 + 2j]), np.array(["2026-11-21"], dtype="M8[s]"), np.array([b"ab", b"c"]),
                  np.array(["\u00e4\u00f6"]), np.arange(9, dtype=">i2").reshape(3, 3).T, np.arange(10)[::3],
                  np.array([True, False]), np.float16([0.5]), np.zeros(3, record)]
        with cont.epoch() as e:
            for oid, array in enumerate(arrays):
                e.array(oid).store(array)
        for oid, array in enumerate(arrays):
            with self.subTest(dtype=array.dtype, shape=array.shape):
                back = cont.array(oid).load()
                self.assertEqual((back.dtype, back.shape), (array.dtype, array.shape))
                self.assertEqual(back.tobytes(), array.tobytes())
                self.assertEqual((cont.array(oid).dtype, cont.array(oid).shape), (array.dtype, array.shape))

    def test_parts_are_written_and_read(self):
        cont = self.open()
        want = np.arange(60.0).reshape(3, 4, 5)
        with cont.epoch() as e:
            a = e.array(1)
            a.store(want)
            a[1, 2] = np.full(5, -1)
            a[0, :2] = 7
            a[2, 3, 4] = 8
            want[1, 2], want[0, :2], want[2, 3, 4] = -1, 7, 8
        a = cont.array(1)
        for index in ((), ..., 0, -1, slice(1, 3), (1, 2), (0, slice(1, 3)), (2, 3, 4), (0, -1, slice(None)), slice(2, 1)):
            with self.subTest(index=index):
                np.testing.assert_array_equal(a[index], want[index])
        self.assertEqual(len(a), 3)
        np.testing.assert_array_equal(np.asarray(a) + 1, want + 1)
        self.assertIsInstance(a[2, 3, 4], np.float64)
        for bad in (3, (0, 4), (0, 0, 0, 0), slice(0, 3, 2), (slice(0, 1), 0)):
            with self.subTest(index=bad), self.assertRaises(IndexError):
                a[bad]

    def test_an_array_is_read_into_memory_that_is_there(self):
        cont = self.open()
        want = np.arange(1000, dtype="i8")
        with cont.epoch() as e:
            e.array(1).store(want)
        out = np.empty(1000, "i8")
        self.assertIs(cont.array(1).load(out), out)
        np.testing.assert_array_equal(out, want)
        frozen = np.empty(1000, "i8")
        frozen.flags.writeable = False
        for bad in (np.empty(999, "i8"), np.empty(1000, "f8"), np.empty(2000, "i8")[::2], frozen, bytearray(8000)):
            with self.assertRaises(ValueError):
                cont.array(1).load(bad)

    def test_an_array_that_becomes_smaller(self):
        cont = self.open()
        with cont.epoch() as e:
            e.array(1).store(np.ones(10000))
        with cont.epoch() as e:
            e.array(1).store(np.ones(3, "u1"))
        self.assertEqual(cont.array(1).nbytes, 3)
        self.assertEqual(bytes(cont.array(1).read()), b"\1\1\1")
        self.assertEqual(cont.at(2).array(1).shape, (3,))

    def test_an_array_of_zeros_takes_parts(self):
        cont = self.open()
        with cont.epoch() as e:
            a = e.array(1)
            a.create((100, 10), "f4")
            a[50] = 1
        self.assertEqual(cont.array(1).load().sum(), 10)
        self.assertEqual(cont.array(1).shape, (100, 10))

    def test_bytes_of_any_memory(self):
        cont = self.open()
        with cont.epoch() as e:
            a = e.array(1)
            a.write(b"0123456789")
            a.write(np.array([0x4241], "<u2"), 2)
            a.write(memoryview(b"xyz")[1:], offset=12)
            self.assertEqual(a.nbytes, 14)
        a = cont.array(1)
        self.assertEqual(bytes(a.read()), b"01AB456789\0\0yz")
        self.assertEqual(bytes(a.read(3, 1)), b"1AB")
        self.assertEqual(bytes(a.read(100, 13)), b"z")
        self.assertEqual(bytes(a.read(5, 99)), b"")
        room = bytearray(4)
        self.assertEqual(a.read_into(room, 12), 2)
        with self.assertRaises(TypeError):
            a.read_into(b"read-only")
        with self.assertRaisesRegex(ValueError, "NumPy"):
            a.load()
        with cont.epoch() as e:
            e.array(1).clear(0, 4)
            e.array(1).resize(6)
        self.assertEqual(bytes(cont.array(1).read()), b"\0\0\0\x0045")

    def test_what_is_not_memory_is_refused(self):
        cont = self.open()
        with cont.epoch() as e:
            with self.assertRaises(TypeError):
                e.array(1).store(np.array([object()]))
            with self.assertRaises(TypeError):
                e.array(1).write("text")
            with self.assertRaises(ValueError):
                e.array(1).write(np.arange(10)[::2])
            with self.assertRaises(TypeError):
                e.kv(1)["key"] = 5
            with self.assertRaises(TypeError):
                e.kv(1)[5] = b""

    def test_large_arrays(self):
        cont = self.open()
        want = np.random.default_rng(1).integers(0, 255, 9 << 20, dtype="u1")
        with cont.epoch() as e:
            e.array(1).store(want)
        self.assertTrue(np.array_equal(cont.array(1).load(), want))


class Epochs(Case):
    def test_an_epoch_commits_at_its_end(self):
        cont = self.open()
        with cont.epoch() as e:
            self.assertEqual(e.epoch, 1)
            e.kv(1)["a"] = b"1"
        self.assertEqual(cont.epochs(), (1, 1, tiercel.EPOCH_MAX, 1, 1, 1))
        with cont.epoch() as e:
            self.assertEqual(e.epoch, 2)
        with self.assertRaisesRegex(ValueError, "ended"):
            e.kv(1)["a"] = b"2"

    def test_an_exception_takes_everything_back(self):
        cont = self.open()
        with cont.epoch() as e:
            e.kv(1)["a"] = b"1"
        with self.assertRaises(ZeroDivisionError), cont.epoch() as e:
            e.kv(1)["a"] = b"2"
            e.array(2).store(np.ones(100000))
            cont.flush(e.epoch)
            1 / 0
        self.assertEqual(dict(cont.kv(1)), {b"a": b"1"})
        self.assertEqual(list(cont.objects()), [1])
        self.assertEqual(cont.epochs().ghpce, 1)
        with cont.epoch() as e:
            self.assertEqual(list(e.objects()), [1], "it is not there in the same epoch either, written anew")
            e.kv(1)["a"] = b"3"
        self.assertEqual(cont.kv(1)["a"], b"3")

    def test_epochs_in_a_hold_follow_each_other(self):
        cont = self.open()
        with cont.hold(10) as first:
            self.assertEqual(first, 10)
            for number in (10, 11):
                with cont.epoch() as e:
                    self.assertEqual(e.epoch, number)
                    e.kv(1)["n"] = b"%d" % number
            with self.assertRaises(KeyError), cont.epoch() as e:
                e.kv(1)["n"] = b"bad"
                raise KeyError
            self.assertEqual(cont.epochs().lhe, 12)
            with cont.epoch() as e:
                self.assertEqual(e.kv(1)["n"], b"11")
        self.assertEqual(cont.epochs().lhe, tiercel.EPOCH_MAX)
        self.assertEqual(cont.kv(1)["n"], b"11")

    def test_one_epoch_at_a_time(self):
        cont = self.open()
        with cont.epoch():
            with self.assertRaisesRegex(RuntimeError, "open already"), cont.epoch():
                pass
            with cont.pool.open("c") as other, other.epoch() as e:
                e.kv(1)["other"] = b"1"
        self.assertEqual(cont.kv(1)["other"], b"1")

    def test_an_epoch_whose_handle_is_closed_says_so(self):
        cont = self.open()
        with self.assertRaises(tiercel.Closed), cont.epoch() as e:
            e.kv(1)["a"] = b"1"
            cont.close()
        with self.assertRaises(ZeroDivisionError), self.open() as other, other.epoch():
            other.close()
            1 / 0
        self.assertEqual(dict(self.open().kv(1)), {})

    def test_by_hand(self):
        cont = self.open()
        self.assertEqual(cont.epoch_hold(5), 5)
        for epoch in (5, 6, 7):
            cont.kv_put(epoch, 1, b"k", b"%d" % epoch)
        self.assertEqual(cont.flush(7).lhe, 5)
        self.assertEqual(cont.discard(6).hce, 0)
        self.assertEqual(cont.kv_get(6, 1, b"k"), b"5")
        self.assertEqual(cont.commit(7).ghce, 7)
        self.assertEqual(cont.commit(6).ghce, 7)
        self.assertEqual(cont.slip(7).lre, 7)
        self.assertEqual(cont.wait(7).ghce, 7)
        with self.assertRaises(tiercel.NotHeld):
            cont.epoch_hold(tiercel.EPOCH_MAX)
            cont.commit(9)

    def test_snapshots_stay(self):
        cont = self.open()
        for number in range(1, 6):
            with cont.epoch() as e:
                e.kv(1)["n"] = b"%d" % number
            if number == 2:
                self.assertEqual(cont.snapshot(), 2)
        self.assertEqual(cont.snapshots, [2])
        below, records, _ = cont.aggregate()
        self.assertEqual((below, records > 0), (5, True))
        with cont.pool.open("c", "r", snapshot=2) as old:
            self.assertEqual(old.kv(1)["n"], b"2")
            self.assertEqual(list(old.objects()), [1])
        with self.assertRaises(tiercel.Stale):
            cont.at(3).kv(1)["n"]
        cont.drop_snapshot(2)
        self.assertEqual(cont.snapshots, [])
        with self.assertRaises(tiercel.NotFound):
            cont.drop_snapshot(2)
        with self.assertRaises(tiercel.NotFound):
            cont.pool.open("c", "r", snapshot=2)


class Errors(Case):
    def test_each_error_has_its_class_its_number_and_a_sentence(self):
        pool = self.connect()
        self.open().close()
        missing = os.path.join(self.dir, "missing")
        reader = self.open(mode="r")
        cases = [
            (tiercel.NotFound, errno.ENOENT, lambda: tiercel.connect(missing), "missing"),
            (tiercel.NotFound, errno.ENOENT, lambda: pool.open("other"), "other"),
            (tiercel.Exists, errno.EEXIST, lambda: tiercel.create(self.uri), self.uri),
            (tiercel.Exists, errno.EEXIST, lambda: pool.create("c"), "c"),
            (tiercel.Error, errno.EINVAL, lambda: pool.create("no label!"), "no label!"),
            (tiercel.Busy, errno.EBUSY, lambda: pool.destroy("c"), "c"),
            (tiercel.Busy, errno.EBUSY, lambda: tiercel.connect(self.uri, "exclusive"), ""),
            (tiercel.Denied, errno.EACCES, lambda: reader.epoch_hold(0), ""),
            (tiercel.NotHeld, errno.EROFS, lambda: self.open().commit(3), "3"),
            (tiercel.NotHeld, errno.EROFS, lambda: self.open().kv_put(1, 1, b"k", b"v"), ""),
            (tiercel.Error, errno.ENAMETOOLONG, lambda: self.open().kv_get(0, 1, b"k" * 300), ""),
            (tiercel.NotFound, errno.ENOENT, lambda: reader.snap_destroy(1), ""),
        ]
        for kind, number, call, word in cases:
            with self.subTest(number=errno.errorcode[number], word=word):
                with self.assertRaises(kind) as caught:
                    call()
                self.assertEqual(caught.exception.errno, number)
                self.assertIn(word, caught.exception.strerror)
                self.assertGreater(len(caught.exception.strerror.split()), 3, caught.exception.strerror)
                self.assertIs(type(caught.exception), kind)

    def test_errors_are_those_of_the_language_too(self):
        self.assertTrue(issubclass(tiercel.NotFound, FileNotFoundError))
        self.assertTrue(issubclass(tiercel.Exists, FileExistsError))
        self.assertTrue(issubclass(tiercel.Denied, PermissionError))
        self.assertTrue(issubclass(tiercel.TimedOut, TimeoutError))
        self.assertTrue(issubclass(tiercel.Error, OSError))
        with self.assertRaises(FileNotFoundError) as caught:
            tiercel.connect(os.path.join(self.dir, "missing"))
        again = pickle.loads(pickle.dumps(caught.exception))
        self.assertEqual((type(again), again.args), (type(caught.exception), caught.exception.args))

    def test_after_the_end(self):
        cont = self.open()
        pool = cont.pool
        view, array, kv = cont.at(0), cont.array(1), cont.kv(1)
        cont.close()
        cont.close()
        self.assertTrue(cont.closed)
        for call in (cont.epochs, cont.query, lambda: kv["a"], array.load, lambda: list(view.objects()), cont.new_oid,
                     lambda: cont.commit(1), lambda: cont.wait(1), lambda: dict(cont.attrs), lambda: cont.snapshots,
                     cont.to_bytes, lambda: cont.lock("l").acquire(), lambda: cont.epoch().__enter__(), cont.aggregate,
                     lambda: cont.diff(0, 1)):
            with self.assertRaises(tiercel.Closed):
                call()
        pool.close()
        pool.close()
        for call in (pool.query, lambda: pool.containers, lambda: pool.open("c"), lambda: pool.create("d"), pool.check,
                     pool.to_bytes, lambda: pool.destroy("c"), lambda: pool.evict("c")):
            with self.assertRaises(tiercel.Closed):
                call()

    def test_a_pool_takes_its_containers_with_it(self):
        cont = self.open()
        cont.pool.close()
        with self.assertRaises(tiercel.Closed):
            cont.epochs()
        cont.close()

    def test_an_evicted_handle(self):
        cont, pool = self.open(), self.connect()
        cont.epoch_hold(0)
        cont.kv_put(1, 1, b"k", b"v")
        self.assertEqual(pool.evict("c"), 1)
        with self.assertRaises(tiercel.Closed):
            cont.commit(1)
        cont.close()
        self.assertEqual(dict(self.open().kv(1)), {})

    def test_reading_is_not_writing(self):
        cont = self.open()
        with self.assertRaisesRegex(ValueError, "epoch"):
            cont.kv(1)["a"] = b"1"
        with self.assertRaisesRegex(ValueError, "epoch"):
            cont.at(1).array(1).store(np.ones(1))
        with self.assertRaises(ValueError):
            cont.pool.open("c", "w")
        with self.assertRaises(ValueError):
            cont.wait(1, timeout=-1)

    def test_locks(self):
        cont, other = self.open(), self.open()
        with cont.lock("l") as lock:
            self.assertFalse(lock.valid)
            with self.assertRaises(tiercel.Busy):
                other.lock("l", timeout=0).acquire()
            with self.assertRaises(tiercel.TimedOut):
                other.lock("l", timeout=0.01).acquire()
            with self.assertRaises(RuntimeError):
                lock.acquire()
            with other.lock("other"):
                pass
            lock.epoch, lock.user = 5, b"mine"
        with other.lock("l", shared=True) as one, cont.lock("l", shared=True) as two:
            for lock in (one, two):
                self.assertEqual((lock.valid, lock.epoch, lock.user.rstrip(b"\0")), (True, 5, b"mine"))
        with other.lock("l") as lock:
            pass
        with cont.lock("l") as lock:
            self.assertEqual(lock.epoch, 5, "as it was")
            with self.assertRaises(ValueError):
                lock.user = b"x" * 49
            cont.close()
        with other.lock("l", timeout=0):
            pass
        with self.assertRaises(RuntimeError):
            other.lock("l").release()


if __name__ == "__main__":
    unittest.main(verbosity=2)
