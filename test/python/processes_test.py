#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Python's tiercel between processes and threads, and what it keeps in memory.

    processes_test.py [CLASS[.test]]...
"""
import gc
import os
import resource
import signal
import sys
import threading
import tracemalloc
import unittest

import numpy as np

import tiercel
from case import Case


class Processes(Case):
    def test_a_child_that_is_killed_has_written_nothing(self):
        cont = self.open()
        with cont.epoch() as e:
            e.kv(1)["n"] = b"1"
        child = self.child("""
e = cont.epoch().__enter__()
e.kv(1)["n"] = b"2"
e.array(2).store(np.ones(1 << 18))
cont.flush(e.epoch)
say("flushed", e.epoch)
input()
""")
        self.hears(child, "flushed 2")
        self.dies(child)
        with self.open() as again:
            self.assertEqual(dict(again.kv(1)), {b"n": b"1"})
            self.assertEqual(list(again.objects()), [1])
            with again.epoch() as e:
                self.assertEqual(list(e.objects()), [1], "nor in the epoch that it has held")
                e.kv(1)["n"] = b"3"
            self.assertEqual(again.kv(1)["n"], b"3")
        damaged, findings = cont.pool.check()
        self.assertEqual(damaged, 0, findings)

    def test_a_child_that_commits_is_seen(self):
        cont = self.open()
        child = self.child("""
input()
with cont.epoch() as e:
    e.array(1).store(np.arange(10))
""")
        waiting = threading.Thread(target=lambda: child.stdin.write("go\n") and child.stdin.flush())
        waiting.start()
        self.assertEqual(cont.wait(1, timeout=30).ghce, 1)
        waiting.join()
        np.testing.assert_array_equal(cont.array(1).load(), np.arange(10))
        self.assertEqual(child.wait(), 0)

    def test_processes_write_through_one_handle(self):
        cont = self.open()
        with cont.epoch() as e:
            e.array(1).create(10, "i8")
        held = cont.epoch_hold(0)
        child = self.child("""
with pool.open_shared(bytes.fromhex(sys.argv[1])) as shared, shared.writer(int(sys.argv[2])) as w:
    w.array(1)[5:] = np.arange(5, 10)
say("flushed")
""", cont.to_bytes().hex(), held)
        with cont.writer(held) as w:
            w.array(1)[:5] = np.arange(5)
        self.hears(child, "flushed")
        cont.commit(held)
        np.testing.assert_array_equal(cont.array(1).load(), np.arange(10))

    def test_a_lock_of_a_child_that_is_killed(self):
        cont = self.open()
        with cont.lock("l") as lock:
            lock.epoch = 7
        cont.epoch_hold(1)
        child = self.child("""
lock = cont.lock("l").acquire()
with cont.hold() as held, cont.writer(held) as w:
    w.kv(1)["k"] = b"never committed"
    cont.flush(held)
    say(lock.valid, lock.epoch, held)
    input()
""")
        self.hears(child, "True 7 1")
        with self.assertRaises(tiercel.Busy):
            cont.lock("l", timeout=0).acquire()
        child.kill()
        child.wait()
        with cont.lock("l", timeout=30) as lock:
            self.assertFalse(lock.valid)
            self.assertEqual(cont.commit(1).ghce, 1, "nobody else holds it any more")
            self.assertEqual(dict(cont.kv(1)), {}, "what the dead had not committed is gone")

    def test_a_forked_child_does_no_harm(self):
        cont = self.open()
        cont.epoch_hold(0)
        cont.kv_put(1, 1, b"k", b"v")
        pid = os.fork()
        if pid == 0:  # as multiprocessing does it: the child ends, and its objects with it
            status = 1
            try:
                cont.epochs()
            except tiercel.Closed:
                cont.close()
                cont.pool.close()
                del cont
                self._cleanups.clear()
                gc.collect()
                status = 0
            finally:
                os._exit(status)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        self.assertEqual(cont.commit(1).ghce, 1)
        self.assertEqual(cont.kv(1)["k"], b"v")

    def test_a_signal_ends_a_wait(self):
        self.open()
        child = self.child("""
signal.signal(signal.SIGUSR1, lambda *_: say("heard"))
lock = cont.lock("l").acquire()
for wait in (lambda: cont.wait(1)), pool.open("c").lock("l").acquire:
    try:
        say("waits")
        wait()
    except KeyboardInterrupt:
        say("interrupted")
""")
        for _ in range(2):
            self.hears(child, "waits")
            child.send_signal(signal.SIGUSR1)
            self.hears(child, "heard")
            child.send_signal(signal.SIGINT)
            self.hears(child, "interrupted")
        self.assertEqual(child.wait(), 0)

    def test_other_threads_run_while_one_waits(self):
        cont = self.open()
        other = self.open()
        seen = []
        waiting = threading.Thread(target=lambda: seen.append(cont.wait(1, timeout=30).ghce))
        waiting.start()
        with other.epoch() as e:
            e.kv(1)["k"] = b"v"
        waiting.join()
        self.assertEqual(seen, [1])

    def test_closing_ends_what_waits_in_another_thread(self):
        cont = self.open()
        queue, polled = tiercel._tiercel.Queue(), []
        call = cont.epoch_wait(1, -1, queue)
        waiting = threading.Thread(target=lambda: polled.extend(queue.poll(30000)))
        waiting.start()
        cont.close()
        waiting.join()
        self.assertEqual(polled, [call])
        with self.assertRaises(tiercel.Canceled):
            call.result()

    def test_many_threads_share_a_handle(self):
        cont = self.open()
        with cont.epoch() as e:
            def write(number):
                for i in range(50):
                    e.kv(number)[str(i)] = b"%d" % i
                    self.assertEqual(e.kv(number)[str(i)], b"%d" % i)
            threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        self.assertEqual([len(cont.kv(n)) for n in range(4)], [50] * 4)


class Memory(Case):
    """Nothing is kept that is not held."""

    def grows(self, work, rounds=200):
        """Bytes of Python and of all, that `rounds` rounds have left behind. The first ones fill caches."""
        tracemalloc.start()
        try:
            for _ in range(20):
                work()
            gc.collect()
            before, rss = tracemalloc.get_traced_memory()[0], self.rss()
            for _ in range(rounds):
                work()
            gc.collect()
            return tracemalloc.get_traced_memory()[0] - before, self.rss() - rss
        finally:
            tracemalloc.stop()

    @staticmethod
    def rss():
        with open("/proc/self/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * resource.getpagesize()

    def bounded(self, work, rounds=100):
        python, rss = map(min, zip(self.grows(work, rounds), self.grows(work, rounds)))  # what leaks does so each time
        self.assertLess(python, 4096 + 16 * rounds, f"{python} bytes of Python are left after {rounds} rounds")
        self.assertLess(rss, 8 << 20, f"{rss} bytes are left after {rounds} rounds")

    def test_reading_and_writing(self):
        cont = self.open()
        array, out = np.arange(20000.0), np.empty(20000)
        cont.epoch_hold(1)

        def work():
            cont.kv_put(1, 1, b"k", b"v" * 6000)
            cont.kv_put(1, 1, b"k%d" % os.getpid(), memoryview(b"v"))
            self.assertEqual(len(cont.kv_get(1, 1, b"k")), 6000)
            self.assertIsNone(cont.kv_get(1, 1, b"none"))
            cont.kv_list(1, 1)
            cont.list_objects(1)
        self.bounded(work)

        def arrays():
            view = cont.at(1).array(2)
            view.load(out)
            view.load()
            view[5:10]
        with cont.epoch() as e:
            e.array(2).store(array)
            cont.flush(e.epoch)
            self.bounded(arrays)

    def test_arrays_are_not_copied_on_their_way(self):
        cont = self.open()
        array = np.ones(4 << 20, "u1")
        out = np.empty_like(array)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        with cont.epoch() as e:
            e.array(1).store(array)
            e.array(2).write(array)
            e.array(1)[100:200] = array[:100]
        cont.array(1).load(out)
        cont.array(2).read_into(out)
        self.assertLess(tracemalloc.get_traced_memory()[1], array.nbytes // 8)
        cont.array(1).load()
        self.assertLess(tracemalloc.get_traced_memory()[1], array.nbytes * 9 // 8, "the new array, and no other")

    def test_errors(self):
        cont = self.open()

        def work():
            for call in (lambda: cont.kv_put(1, 1, b"k", b"v"), lambda: cont.commit(5), lambda: cont.pool.open("no"),
                         lambda: cont.kv_put(1, 1, b"k" * 1000, b""), lambda: tiercel.connect("/none"),
                         lambda: cont.update(1, 1, b"", [(b"", b"x", 1, [(0, 1)]), (b"", None)]),
                         lambda: cont.wait(1, timeout=0)):
                try:
                    call()
                except (OSError, TypeError):
                    pass
        self.bounded(work, 50)

    def test_opening_and_closing(self):
        self.open()

        def work():
            with tiercel.connect(self.uri) as pool, pool.open("c") as cont, cont.lock("l", timeout=0):
                cont.epochs()
            pool = tiercel.connect(self.uri)  # without a close
            cont = pool.open("c", "r")
            cont.at(0).kv(1)
        self.bounded(work, 20)

    def test_memory_is_held_while_a_call_uses_it(self):
        cont = self.open()
        queue = tiercel._tiercel.Queue()
        cont.epoch_hold(1)
        count = sys.getrefcount(queue)
        data = bytearray(b"x" * 100000)
        call = cont.array_write(1, 1, 0, data, queue)
        with self.assertRaises(BufferError):
            data.append(1)
        with self.assertRaises(RuntimeError):
            if call not in queue.poll(0):
                call.result()
            else:
                raise RuntimeError  # it was quick
        while call not in queue.poll(1000):
            self.assertEqual(sys.getrefcount(queue), count + 1)
        self.assertIsNone(call.result())
        del call
        data.append(1)
        self.assertEqual(sys.getrefcount(queue), count)


if __name__ == "__main__":
    unittest.main(verbosity=2)
