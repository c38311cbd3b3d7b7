// SPDX-License-Identifier: Apache-2.0
/* What requests for metrics are answered. */
#include "daemon/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static enum tl_http_verdict judge(const char *text)
{
    return tl_http_judge(text, strlen(text));
}

static void only_get_of_metrics_is_answered(void **state)
{
    (void)state;
    assert_int_equal(judge("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), TL_HTTP_OK);
    assert_int_equal(judge("GET /metrics?x=1 HTTP/1.0\n\n"), TL_HTTP_OK);
    assert_int_equal(judge("GET /metricsx HTTP/1.1\r\n\r\n"), TL_HTTP_NOT_FOUND);
    assert_int_equal(judge("GET / HTTP/1.1\r\n\r\n"), TL_HTTP_NOT_FOUND);
    assert_int_equal(judge("POST /metrics HTTP/1.1\r\n\r\n"), TL_HTTP_METHOD);
    assert_int_equal(judge("get /metrics HTTP/1.1\r\n\r\n"), TL_HTTP_METHOD);
    const char *const bad[] = {"\r\n\r\n",
                               "\n\n",
                               "GET\n\n",
                               "GET \n\n",
                               "GET /metrics\n\n",
                               "GET /metrics HTTP/2\n\n",
                               "GET /metrics \n\n",
                               "  \n\n",
                               "GET /metrics\r\nHTTP/1.1 x\r\n\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(judge(bad[i]), TL_HTTP_BAD);
}

static void a_request_is_waited_for_until_it_is_whole_or_too_long(void **state)
{
    (void)state;
    static const char whole[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (size_t i = 0; i + 1 < sizeof whole - 1; i++)
        assert_int_equal(tl_http_judge(whole, i), TL_HTTP_MORE);
    char much[TL_HTTP_REQUEST_MAX];
    memset(much, 'a', sizeof much);
    assert_int_equal(tl_http_judge(much, sizeof much - 1), TL_HTTP_MORE);
    assert_int_equal(tl_http_judge(much, sizeof much), TL_HTTP_TOO_LONG);
    memset(much, 0, sizeof much);
    assert_int_equal(tl_http_judge(much, sizeof much), TL_HTTP_TOO_LONG);
}

static void an_answers_head_says_what_follows(void **state)
{
    (void)state;
    char head[TL_HTTP_HEAD_MAX];
    size_t len = tl_http_head(TL_HTTP_OK, 1234, head);
    assert_int_equal(len, strlen(head));
    assert_non_null(strstr(head, "HTTP/1.0 200 OK\r\n"));
    assert_non_null(strstr(head, "text/plain; version=0.0.4"));
    assert_non_null(strstr(head, "Content-Length: 1234\r\n"));
    len = tl_http_head(TL_HTTP_METHOD, SIZE_MAX, head);
    assert_int_equal(len, strlen(head));
    assert_non_null(strstr(head, "Allow: GET\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_get_of_metrics_is_answered),
        cmocka_unit_test(a_request_is_waited_for_until_it_is_whole_or_too_long),
        cmocka_unit_test(an_answers_head_says_what_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
