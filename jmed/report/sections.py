"""The sections of the page of a comparison: which part of comparison.json each shows, in which words."""

from jmed.report.tables import Chart, Column, Section, Table

RUN = Column("Run", "モデル", "run", "name")
BENCHMARK = Column("Benchmark", "ベンチマーク", "benchmark", "name")
LANGUAGE = Column("Language", "言語", "language", "word")
CORRECT = Column("Correct", "正解数", "correct")
ASKED = Column("Questions", "問題数", "n")
VALUE = Column("Accuracy (%)", "正答率（%）", "value", "percent")
INTERVAL = Column("95 % interval (%)", "95 %信頼区間（%）", "ci", "interval")
DIFFERENCE = Column("Difference", "差", "difference", "signed")
WHERE = (BENCHMARK, LANGUAGE)


def _interval(key: str, form: str) -> Column:
    """The interval of a figure that is no share; `form` is the figure's."""
    return Column("95 % interval", "95 %信頼区間", key, f"{form} interval")


LEADERBOARD = Section(
    "leaderboard",
    ("Ranking", "順位"),
    (
        "All runs answered the same questions. A rank is a range: every place that the run may hold as far as these "
        "questions tell (McNemar's exact test, Holm over all pairs, 5 %).",
        "すべてのモデルが同じ問題に回答しています。順位は、この問題数から考えられる範囲で示します"
        "（マクネマーの正確検定、全組のHolm補正、5 %水準）。",
    ),
    (Chart("accuracy", ("Accuracy and its 95 % interval", "正答率と95 %信頼区間"), each="benchmark"),),
    (
        Table(
            "leaderboard",
            ("leaderboards", "ranks"),
            (*WHERE, Column("Rank", "順位", "rank", "rank"), RUN, CORRECT, ASKED, VALUE, INTERVAL),
        ),
    ),
)
PAIRS = Section(
    "pairs",
    ("Differences, question by question", "問題ごとの対比較"),
    (
        "Second run minus first, in percentage points, on the same questions. The interval is Newcombe's; p is of "
        "McNemar's exact test, beside it Holm's for all comparisons of the family. "
        "An interval without 0 is a difference.",
        "同じ問題での正答率の差（後のモデル−前のモデル、ポイント）。区間はNewcombe法、pはマクネマーの正確検定、"
        "右は全比較でHolm補正したもの。区間が0を含まなければ差があるといえます。",
    ),
    (Chart("differences", ("Difference in accuracy and its 95 % interval", "正答率の差と95 %信頼区間")),),
    (
        Table(
            "pairs",
            ("pairs",),
            (
                *WHERE,
                Column("First", "前", "first", "name"),
                Column("Second", "後", "second", "name"),
                ASKED,
                DIFFERENCE,
                _interval("ci", "signed"),
                Column("p (Holm)", "p（Holm）", "p_holm", "p"),
                Column("Better", "優れている方", "verdict", "better"),
                Column("Both right", "両方正解", "both"),
                Column("Only first", "前のみ", "only_first"),
                Column("Only second", "後のみ", "only_second"),
                Column("Neither", "両方不正解", "neither"),
                Column("p", "p", "p", "p"),
                Column("p (mid)", "p（mid）", "mid_p", "p"),
                Column("Bootstrap", "ブートストラップ", "bootstrap", "signed interval"),
            ),
        ),
        Table(
            "clustered",
            ("pairs",),
            (
                *WHERE,
                Column("First", "前", "first", "name"),
                Column("Second", "後", "second", "name"),
                Column("Clusters by", "まとまり", "clustered.by", "word"),
                Column("Clusters", "まとまりの数", "clustered.clusters"),
                DIFFERENCE,
                _interval("clustered.ci", "signed"),
                Column("Bootstrap", "ブートストラップ", "clustered.bootstrap", "signed interval"),
                Column("p", "p", "clustered.p", "p"),
            ),
            ("With questions that belong together", "関連する問題のまとまりを考慮した場合"),
            needs="clustered.by",
        ),
    ),
)
LANGUAGES = Section(
    "languages",
    ("Two languages", "二つの言語"),
    (
        "The same questions in Japanese and English: how often both are right, and what a model adapted in one "
        "language gained in the other.",
        "日本語と英語の同じ問題：両方に正解した割合と、一方の言語で適応したモデルがもう一方で得たもの。",
    ),
    (
        Chart(
            "both_languages",
            ("Each run in both languages", "モデルごとの日本語と英語の正答率"),
            (
                "Above the line: better in Japanese. Below: better in English.",
                "対角線より上：日本語の方が高い。下：英語の方が高い。",
            ),
        ),
    ),
    (
        Table(
            "transfer",
            ("transfer",),
            (
                BENCHMARK,
                Column("Base", "元のモデル", "base", "name"),
                Column("Adapted", "適応後", "adapted", "name"),
                ASKED,
                Column("Adapted in", "適応した言語", "source_language", "word"),
                Column("Known from", "その根拠", "source_basis", "word"),
                Column("Gain there", "その言語での向上", "source.difference", "signed"),
                _interval("source.ci", "signed"),
                Column("Gain in the other", "もう一方での向上", "target.difference", "signed"),
                _interval("target.ci", "signed"),
                Column("Ratio", "比", "ratio", "decimal"),
                _interval("ratio", "decimal"),
                Column("Difference of gains", "向上の差", "gap", "signed"),
                _interval("gap", "signed"),
            ),
            ("Transfer between the languages", "言語間の転移"),
        ),
        Table(
            "agreement",
            ("languages",),
            (
                BENCHMARK,
                RUN,
                ASKED,
                Column("Both right", "両方正解", "both"),
                Column("Only Japanese", "日本語のみ", "only_ja"),
                Column("Only English", "英語のみ", "only_en"),
                Column("Neither", "両方不正解", "neither"),
                Column("Japanese (%)", "日本語（%）", "ja_value", "percent"),
                Column("English (%)", "英語（%）", "en_value", "percent"),
                DIFFERENCE,
                _interval("ci", "signed"),
                Column("p (Holm)", "p（Holm）", "p_holm", "p"),
                Column("Same choice (%)", "同じ選択（%）", "agreement", "percent"),
                Column("Kappa", "κ係数", "kappa", "decimal"),
            ),
            ("The same question in both languages", "同じ問題の両言語での正誤"),
        ),
    ),
)
FAILURES = Section(
    "failures",
    ("Where it fails", "どこで間違えるか"),
    (
        "Accuracy by kind of question, with intervals: few questions make wide ones.",
        "問題の種類ごとの正答率。問題が少なければ区間は広くなります。",
    ),
    (Chart("failures", ("Accuracy by kind of question", "問題の種類ごとの正答率"), each="kind"),),
    (
        Table(
            "failures",
            ("failures", "parts"),
            (
                Column("By", "区分の種類", "kind", "word"),
                Column("Part", "区分", "part", "name"),
                RUN,
                *WHERE,
                CORRECT,
                ASKED,
                VALUE,
                INTERVAL,
            ),
        ),
    ),
)
STUDENTS = Section(
    "students",
    ("Beside the students", "受験者との比較"),
    (
        "Where the examination's candidates are sure and the run is not, and the reverse. The same mistake: the run's "
        "wrong choice is the students' most frequent one; beside it the share if every wrong choice were as likely.",
        "受験者の正答率が高いのに誤った問題と、その逆。同じ誤り：誤答が受験者の最も多い誤答と一致した割合。"
        "右は、どの誤答も等しく選ばれるとした場合の割合。",
    ),
    (),
    (
        Table(
            "students",
            ("students",),
            (
                RUN,
                *WHERE,
                ASKED,
                Column("Easy for them", "受験者に易しい", "easy"),
                Column("of these wrong", "うち不正解", "easy_wrong", "names"),
                Column("Hard for them", "受験者に難しい", "hard"),
                Column("of these right", "うち正解", "hard_right", "names"),
                Column("Students right, run right (%)", "正解時の受験者正答率（%）", "when_right", "percent"),
                Column("Students right, run wrong (%)", "不正解時の受験者正答率（%）", "when_wrong", "percent"),
                Column("Wrong choices", "誤答", "wrong"),
                Column("The same mistake", "同じ誤り", "same_mistake"),
                Column("Share (%)", "割合（%）", "value", "percent"),
                INTERVAL,
                Column("By chance (%)", "偶然の場合（%）", "by_chance", "percent"),
            ),
        ),
    ),
)
SAFETY = Section(
    "safety",
    ("Prohibited choices", "禁忌肢"),
    (
        "Questions in which the run chose what the examiner marks as dangerous for the patient. "
        "Find them below by their ids.",
        "出題者が患者に危険と定めた選択肢（禁忌肢）を選んだ問題。下の一覧で問題番号により検索できます。",
    ),
    (),
    (
        Table(
            "safety",
            ("safety",),
            (
                RUN,
                *WHERE,
                Column("Chosen", "選択数", "picked"),
                Column("Questions with one", "禁忌肢のある問題", "n"),
                Column("Share (%)", "割合（%）", "value", "percent"),
                INTERVAL,
                Column("Which", "問題番号", "questions", "names"),
            ),
        ),
    ),
)
TRUST = Section(
    "trust",
    ("Can its confidence be trusted?", "確信度は信頼できるか"),
    (
        "From the log-probabilities of the choices. ECE: how far confidence and accuracy lie apart on average. "
        "A point below the diagonal is overconfident. Coverage: if the model answers only what it is surest of.",
        "選択肢の対数確率から算出。ECE：確信度と正答率の平均的なずれ。対角線より下は過信。"
        "カバー率：確信度の高い問題だけに答えた場合。",
    ),
    (
        Chart("reliability", ("Reliability: accuracy against confidence", "信頼度曲線：確信度と正答率")),
        Chart(
            "coverage", ("Accuracy when the least sure questions are left out", "確信度の低い問題を除いたときの正答率")
        ),
        Chart(
            "position",
            ("How often each place was chosen, and was right", "各位置が選ばれた割合と正答の割合"),
            each="run",
        ),
    ),
    (
        Table(
            "calibration",
            ("calibration",),
            (
                RUN,
                *WHERE,
                ASKED,
                Column("ECE (%)", "ECE（%）", "ece", "percent"),
                Column("ECE, equal width (%)", "ECE、等幅（%）", "ece_width", "percent"),
                Column("Brier", "Brier", "brier", "decimal"),
                Column("Area of errors", "誤り面積", "area", "decimal"),
            ),
            ("Calibration", "較正"),
        ),
        Table(
            "reliability",
            ("calibration", "curve"),
            (
                RUN,
                *WHERE,
                Column("Questions in bin", "区間内の問題数", "n"),
                Column("Confidence (%)", "確信度（%）", "confidence", "percent"),
                Column("Accuracy (%)", "正答率（%）", "accuracy", "percent"),
                INTERVAL,
            ),
            ("The reliability curve", "信頼度曲線の値"),
        ),
        Table(
            "position",
            ("position",),
            (
                RUN,
                *WHERE,
                Column("Answers", "回答数", "n"),
                Column("All orders", "全順序", "rotated", "word"),
                Column("Chi-squared", "カイ二乗", "chi2", "decimal"),
                Column("Degrees of freedom", "自由度", "degrees"),
                Column("p", "p", "p", "p"),
            ),
            ("Is some place preferred?", "位置の偏り"),
        ),
        Table(
            "rotations",
            ("rotations",),
            (
                RUN,
                *WHERE,
                ASKED,
                Column("Orders", "順序の数", "rotations"),
                Column("Always the same (%)", "常に同じ（%）", "always_same", "percent"),
                Column("Pairs alike (%)", "対の一致（%）", "pairwise", "percent"),
                Column("Accuracy, published order (%)", "元の順序の正答率（%）", "value", "percent"),
                Column("Worst order (%)", "最低（%）", "lowest", "percent"),
                Column("Best order (%)", "最高（%）", "highest", "percent"),
            ),
            ("The same choices in other orders", "選択肢の順序を変えた場合"),
        ),
    ),
)
PROMPTS = Section(
    "prompts",
    ("Prompts", "プロンプト"),
    ("The same model asked in several ways: how much of a difference is the prompt.", "同じモデルへの尋ね方による差。"),
    (Chart("prompts", ("Accuracy by prompt", "プロンプトごとの正答率")),),
    (
        Table(
            "prompts",
            ("prompts",),
            (
                Column("Model", "モデル", "model", "name"),
                Column("Prompt", "プロンプト", "prompt", "name"),
                *WHERE,
                CORRECT,
                ASKED,
                VALUE,
                INTERVAL,
            ),
        ),
        Table(
            "prompt_effects",
            ("prompt_effects",),
            (
                Column("Model", "モデル", "model", "name"),
                *WHERE,
                ASKED,
                Column("Prompts", "プロンプト数", "prompts"),
                Column("Lowest (%)", "最低（%）", "lowest", "percent"),
                Column("Highest (%)", "最高（%）", "highest", "percent"),
                Column("Spread (points)", "幅（ポイント）", "spread", "percent"),
                Column("Cochran's Q", "コクランのQ", "q", "decimal"),
                Column("p", "p", "p", "p"),
            ),
            ("How much the prompt moves", "プロンプトによる変動"),
        ),
        Table(
            "prompt_contrasts",
            ("prompt_contrasts",),
            (
                Column("First", "前", "first", "name"),
                Column("Second", "後", "second", "name"),
                *WHERE,
                ASKED,
                Column("Mean difference", "平均の差", "mean", "signed"),
                Column("Lowest", "最低", "lowest", "signed"),
                Column("Highest", "最高", "highest", "signed"),
                Column("Spread by prompt (points)", "プロンプトによる幅（ポイント）", "spread", "percent"),
                Column("Reverses", "逆転", "reverses", "word"),
            ),
            ("Differences between models under the same prompts", "同じプロンプトでのモデル間の差"),
        ),
    ),
)
TRAINING = Section(
    "training",
    ("Training", "学習"),
    ("From the log that the training left.", "学習時の記録から。"),
    (
        Chart("loss", ("Loss by step", "ステップごとの損失")),
        Chart("epochs", ("Examination while learning", "学習中の試験の正答率")),
    ),
    (
        Table(
            "training",
            ("training",),
            (
                RUN,
                Column("Training", "学習", "name", "name"),
                Column("Stage", "段階", "stage", "name"),
                Column("Tuning", "方式", "tuning", "name"),
                Column("Steps", "ステップ数", "n_steps"),
                Column("First loss", "最初の損失", "first_loss", "decimal"),
                Column("Last loss", "最後の損失", "last_loss", "decimal"),
                Column("Tokens", "トークン数", "tokens"),
                Column("Time", "時間", "seconds", "duration"),
            ),
        ),
        Table(
            "epochs",
            ("training", "exams"),
            (
                RUN,
                Column("Training", "学習", "name", "name"),
                Column("Epoch", "エポック", "epoch", "amount"),
                *WHERE,
                CORRECT,
                ASKED,
                VALUE,
                INTERVAL,
            ),
            ("Examination while learning", "学習中の試験"),
        ),
    ),
)
COST = Section(
    "cost",
    ("Cost", "コスト"),
    (
        "Tokens of the same questions in Japanese and English: a ratio above 1 makes Japanese dearer.",
        "同じ問題の日本語と英語のトークン数。比が1を超えると日本語の方が高くつきます。",
    ),
    (),
    (
        Table(
            "cost",
            ("cost",),
            (
                RUN,
                Column("Folder", "フォルダー", "folder", "name"),
                Column("Questions", "問題数", "questions"),
                Column("Workers", "ワーカー", "workers"),
                Column("GPUs", "GPU", "gpus", "amount"),
                Column("Questions a second", "毎秒の問題数", "questions_per_second", "amount"),
                Column("GPU seconds per 1,000", "1,000問あたりGPU秒", "gpu_seconds_per_1000", "amount"),
                Column("Tokens read per 1,000", "1,000問あたり入力トークン", "tokens_in_per_1000", "amount"),
                Column("Tokens written per 1,000", "1,000問あたり出力トークン", "tokens_out_per_1000", "amount"),
            ),
        ),
        Table(
            "tokens",
            ("tokens",),
            (
                RUN,
                BENCHMARK,
                ASKED,
                Column("Tokens, Japanese", "日本語トークン", "tokens_ja"),
                Column("Tokens, English", "英語トークン", "tokens_en"),
                Column("Ratio", "比", "ratio", "decimal"),
                _interval("ratio", "decimal"),
            ),
            ("Tokens of the same questions in both languages", "同じ問題の両言語のトークン数"),
        ),
    ),
)
STUDENT_EXAMS = Table(
    "exam_students",
    ("exam_students",),
    (
        Column("Examination", "試験", "exam", "name"),
        Column("Questions", "問題数", "questions"),
        Column("of these published", "うち公表", "known"),
        Column("Right, expected", "正解数（期待値）", "correct", "amount"),
        Column("Compulsory points", "必修の得点", "compulsory_points", "amount"),
        Column("of", "満点", "compulsory_max"),
        Column("General points", "一般・臨床実地の得点", "general_points", "amount"),
        Column("of", "満点", "general_max"),
        Column("Points", "得点", "points", "amount"),
        Column("of", "満点", "max_points"),
    ),
    ("The average student, from the published share of right answers", "受験者の平均（公表された正答率から）"),
)
BEFORE_EXAMS = (LEADERBOARD, PAIRS, LANGUAGES)
AFTER_EXAMS = (FAILURES, STUDENTS, SAFETY, TRUST, PROMPTS, TRAINING, COST)
